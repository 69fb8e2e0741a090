"""Make all images of a plate isotropic: the result is a plate, with its wells and labels.

    python plate.py plate.ome.zarr isotropic.ome.zarr --voxel-size 1um
    python plate.py plate.ome.zarr fields.ome.zarr --images 'A/*/0'      # first fields of row A

Series of bioformats2raw and folders of OME-Zarr images go the same way. Run it again after an
interruption: images that are there are not made again. If an image fails, the others are made and
it is named; the output becomes a plate when a later run has made all of them.
"""

import argparse
import sys

import chunkscale


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plate")
    parser.add_argument("out", help="a new plate")
    parser.add_argument("--images", default="all", help="patterns: 'A/*/0,B/03/*' (default: all)")
    parser.add_argument("--voxel-size", default="finest", help="1um, z=1um, ... (default: finest)")
    parser.add_argument("--memory", help="at most this much, like 8GiB")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> str | None:
    """Resample the plate and check it, and return what went wrong, if anything."""
    given = arguments(argv)
    wanted = {
        "images": given.images,
        "voxel_size": given.voxel_size,
        "antialias": True,
        "memory": given.memory,
    }
    try:
        print(chunkscale.plan_resampling(given.plate, **wanted), flush=True)
        print(chunkscale.resample(given.plate, given.out, resume=True, **wanted), flush=True)
        report = chunkscale.check(given.out, source=given.plate)
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    print(report)
    return None if report else "error: the result has faults"


if __name__ == "__main__":
    sys.exit(main())
