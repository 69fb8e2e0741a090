"""What asv tracks from commit to commit; see README.md."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import contenders, planning


class Resample:
    """Case A, end to end."""

    timeout = 300
    # One call per sample, each into a new output; the first compiles.
    number = 1
    repeat = (3, 10, 30.0)
    warmup_time = 0

    def setup_cache(self) -> str:
        """Write the source once, and leave compiled kernels in Numba's cache."""
        source = str(Path.cwd() / "case-a.ome.zarr")
        contenders.write_source(source, contenders.CASES["A"].shape)
        return source

    def setup(self, source: str) -> None:
        """Compile, and find a place for the output."""
        self.folder = tempfile.TemporaryDirectory()
        self.run = contenders.chunkscale(
            contenders.Job(
                case=contenders.CASES["A"],
                source=source,
                output=f"{self.folder.name}/out.ome.zarr",
                reference="",
                workers=2,
            )
        )

    def teardown(self, source: str) -> None:
        """Delete the output."""
        self.folder.cleanup()

    def time_case_a(self, source: str) -> None:
        """Resample 64 x 512 x 512 to isotropic voxels, all levels."""
        self.run()

    def peakmem_case_a_within_300_mib(self, source: str) -> None:
        """The same within 300 MiB; the figure is the whole process."""
        import chunkscale

        chunkscale.resample(
            source, f"{self.folder.name}/small.ome.zarr", voxel_size=0.2, memory="300MiB"
        )


class Planning:
    """Ten million regions; a plan must not depend on their number."""

    def setup_cache(self) -> str:
        """Write the metadata of a source without chunks."""
        path = str(Path.cwd() / "sparse.ome.zarr")
        planning.write_sparse_source(path)
        return path

    def time_plan_resampling(self, path: str) -> None:
        """From the path of the source."""
        planning.plan_from_store(path)

    def time_make_plan(self, path: str) -> None:
        """Geometry alone."""
        planning.plan_from_values()

    def track_peak_bytes(self, path: str) -> float:
        """Peak of the Python objects of one plan."""
        return planning.figures(lambda: planning.plan_from_store(path))["peak"]

    def track_pickled_bytes(self, path: str) -> float:
        """Size of what every worker gets."""
        return planning.figures(lambda: planning.plan_from_store(path))["pickled"]

    def track_regions(self, path: str) -> int:
        """Ten million, or the others say nothing."""
        regions: int = planning.plan_from_store(path).region_count
        return regions


for _track, _unit in (("peak_bytes", "bytes"), ("pickled_bytes", "bytes"), ("regions", "regions")):
    getattr(Planning, f"track_{_track}").unit = _unit


class Start:
    """What everybody waits for before anything happens: wall time of new processes."""

    def time_interpreter(self) -> None:
        """Python alone, to subtract."""
        self._python("-c", "pass")

    def time_import(self) -> None:
        """``import chunkscale``."""
        self._python("-c", "import chunkscale")

    def time_import_resample(self) -> None:
        """The same, and the module behind the public functions."""
        self._python("-c", "from chunkscale import resample")

    def time_help(self) -> None:
        """``chunkscale --help``."""
        self._python("-m", "chunkscale", "--help")

    def _python(self, *arguments: Any) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
