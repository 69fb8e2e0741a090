"""What asv tracks from commit to commit; see README.md.

In a folder of its own, as asv imports all that lies beside its benchmarks.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from chunkscale.host.memory import peak_of

# The scripts import each other by name.
sys.path.insert(0, str(Path(__file__).parents[1]))
import contenders
import planning
from jobs import JOBS
from sources import write_source


class Resample:
    """Case A, end to end."""

    timeout = 300
    # Every sample is one call that writes a new output.
    number = 1
    repeat = (3, 10, 30.0)
    warmup_time = 0

    def setup_cache(self) -> str:
        """Write the source once."""
        source = str(Path.cwd() / "case-a.ome.zarr")
        write_source(source, JOBS["A"])
        write_source(f"{source}.small", JOBS["A"].small)
        return source

    def setup(self, source: str) -> None:
        """Compile, and find a place for the output."""
        self.folder = tempfile.TemporaryDirectory()
        self.output = f"{self.folder.name}/out.ome.zarr"
        run = contenders.Run(
            job=JOBS["A"], source=source, small=f"{source}.small", output=self.output,
            reference="", level_shapes=(), workers=2,
        )  # fmt: skip
        self.run = contenders.chunkscale(run)

    def teardown(self, source: str) -> None:
        """Delete the output."""
        self.folder.cleanup()

    def time_case_a(self, source: str) -> None:
        """Resample 64 x 512 x 512 to isotropic voxels, all levels."""
        self.run()

    def track_peak_within_400_mib(self, source: str) -> float:
        """Peak MiB of the command under ``--memory 400MiB``, kernels compiled, from outside."""
        command = [sys.executable, "-m", "chunkscale", "resample", source, self.output]
        process = subprocess.Popen(
            [*command, "--voxel-size", "0.2", "--memory", "400MiB"], stdout=subprocess.DEVNULL
        )
        return peak_of(process) / 2**20


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


Resample.track_peak_within_400_mib.unit = "MiB"  # type: ignore[attr-defined]
Planning.track_peak_bytes.unit = "bytes"  # type: ignore[attr-defined]
Planning.track_pickled_bytes.unit = "bytes"  # type: ignore[attr-defined]
Planning.track_regions.unit = "regions"  # type: ignore[attr-defined]


class Start:
    """Wall time of new processes: what everybody waits for before anything happens."""

    def time_interpreter(self) -> None:
        """Python alone, to subtract."""
        self._python("-c", "pass")

    def time_import(self) -> None:
        """``import chunkscale``."""
        self._python("-c", "import chunkscale")

    def time_import_resample(self) -> None:
        """Load what is behind the public functions, too."""
        self._python("-c", "from chunkscale import resample")

    def time_help(self) -> None:
        """``chunkscale --help``."""
        self._python("-m", "chunkscale", "--help")

    def _python(self, *arguments: Any) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
