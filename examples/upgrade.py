"""Write an OME-Zarr image of version 0.4 anew as 0.5, with the very same voxels.

    python upgrade.py old.ome.zarr new.ome.zarr
    python upgrade.py plate-of-0.4.ome.zarr plate.ome.zarr
    python upgrade.py new.ome.zarr old.ome.zarr --to 0.4        # back, for older programs

Nothing is interpolated. Labels, plates, series and folders go along; shards make many small files
a few large ones. Coarser levels are computed anew, so that their positions are right. The source
stays as it is. Run it again after an interruption: it goes on.
"""

import argparse
import sys

import chunkscale


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("out", help="a new image or collection; one that ends with .ozx is a file")
    parser.add_argument("--to", default="0.5", choices=["0.4", "0.5", "0.6"])
    parser.add_argument("--codec", default="blosc-zstd", help="default: blosc-zstd")
    parser.add_argument("--full", action="store_true", help="compare all voxels afterwards")
    parser.add_argument("--memory", help="at most this much, like 8GiB")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> str | None:
    """Copy and compare, and return what went wrong, if anything."""
    given = arguments(argv)
    try:
        run = chunkscale.resample(
            given.source,
            given.out,
            images="all",
            voxel_size="same",
            ome_zarr_version=given.to,
            codec=given.codec,
            memory=given.memory,
            resume=True,
        )
        print(run, flush=True)
        report = chunkscale.check(given.out, source=given.source, full=given.full)
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    print(report)
    return None if report else "error: the copy has faults"


if __name__ == "__main__":
    sys.exit(main())
