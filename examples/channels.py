"""Make some channels and time points of an image isotropic, picked by their names.

    python channels.py scan.ome.tif                      # which channels are there?
    python channels.py scan.ome.tif out.ome.zarr --channels DAPI,GFP
    python channels.py scan.ome.tif out.ome.zarr --channels DAPI --timepoints 0:10

The source is an OME-TIFF, a hyperstack of ImageJ, an OME-Zarr image, or whatever else
`chunkscale formats` lists. Voxels that are not asked for are not read. Run it again after an
interruption: it goes on.
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
    parser.add_argument("out", nargs="?", help="a new OME-Zarr image; leave it out to look first")
    parser.add_argument("--channels", help="names or numbers: DAPI,GFP (default: all)")
    parser.add_argument("--timepoints", help="0:10 (without 10), or 0,4,8 (default: all)")
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    parser.add_argument("--source-voxel-size", help="if the file does not say it: z=2,y=0.5,x=0.5")
    parser.add_argument("--memory", help="at most this much, like 8GiB")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> str | None:
    """Look at the image or resample it, and return what went wrong, if anything."""
    given = arguments(argv)
    try:
        image = chunkscale.open_image(given.source, source_voxel_size=given.source_voxel_size)
        if given.out is None:
            print(image)
            print("channels:", ", ".join(image.channels) or "without names; count from 0")
            return None
        part = image.select(channels=given.channels, timepoints=given.timepoints)
        run = chunkscale.resample(
            part,
            given.out,
            voxel_size=given.voxel_size,
            antialias=True,
            memory=given.memory,
            resume=True,
        )
        print(run)
        print("channels:", ", ".join(chunkscale.open_image(given.out).channels) or "without names")
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
