"""Make an isotropic OME-Zarr image of every TIFF file in a folder.

    python tiff_folder.py scans/ isotropic/
    python tiff_folder.py scans/ isotropic/ --voxel-size 0.5um --memory 8GiB

scans/a.ome.tif becomes isotropic/a.ome.zarr; a file with several images becomes a folder of them.
Run it again when files were added or something failed: finished images are only looked through.
What failed is named at the end, and the exit status is 1.
"""

import argparse
import re
import sys
import time
from pathlib import Path

import chunkscale

TIFF = re.compile(r"(\.ome)?\.tiff?$", re.IGNORECASE)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the TIFF files are")
    parser.add_argument("out", type=Path, help="where the images go; made if it is not there")
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    parser.add_argument("--source-voxel-size", help="of files that do not say it: z=2,y=0.5,x=0.5")
    parser.add_argument("--source-unit", help="of that voxel size: um")
    parser.add_argument("--memory", help="at most this much, like 8GiB")
    return parser.parse_args(argv)


def told(run: chunkscale.Resampled | chunkscale.ResampledCollection) -> str:
    """Return what was made, in a few words."""
    if isinstance(run, chunkscale.ResampledCollection):
        return f"{run.plan.images} images"
    grids = run.plan.source_grid, run.plan.target_grid
    before, after = (" x ".join(str(n) for n in grid.shape) for grid in grids)
    voxel = " x ".join(f"{grids[1].voxel_size[i]:.4g}" for i in grids[1].spatial)
    return f"{before} -> {after} of {voxel}"


def main(argv: list[str] | None = None) -> str | None:
    """Resample the files, and return what has failed, if anything."""
    given = arguments(argv)
    sources = sorted(path for path in given.folder.glob("*") if TIFF.search(path.name))
    if not sources:
        return f"error: there are no TIFF files in {given.folder}"
    given.out.mkdir(parents=True, exist_ok=True)
    width = max(len(path.name) for path in sources)
    failed = {}
    for source in sources:
        start = time.perf_counter()
        try:
            run = chunkscale.resample(
                source,
                given.out / TIFF.sub(".ome.zarr", source.name),
                images="all",  # also where a file has several
                voxel_size=given.voxel_size,
                source_voxel_size=given.source_voxel_size,
                source_unit=given.source_unit,
                antialias=True,
                memory=given.memory,
                resume=True,
            )
        except (chunkscale.ChunkscaleError, OSError) as error:
            failed[source.name] = error
            done = "failed"
        else:
            done = told(run)
        print(f"{source.name:{width}}  {time.perf_counter() - start:6.1f} s  {done}", flush=True)
    if not failed:
        return None
    reasons = "".join(f"\n{name}: {error}" for name, error in failed.items())
    return f"error: {len(failed)} of {len(sources)} files failed{reasons}"


if __name__ == "__main__":
    sys.exit(main())
