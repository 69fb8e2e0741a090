"""The arguments of pictures, and of pages in a browser."""

from __future__ import annotations

import argparse

from chunkscale.api.defaults import (
    PICTURE_PERCENTILES,
    PICTURE_WIDTHS,
    PLANE_NAMES,
    PROJECTION_WORDS,
    SHOWN_CHANNELS,
)


def picture_options(verb: argparse.ArgumentParser) -> None:
    """Add what `chunkscale.show` takes, besides the source and how it is reached."""
    verb.add_argument(
        "others", metavar="OTHER", nargs="*", help="shown beside it, at the same scale and contrast"
    )
    verb.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="path or URL (s3, gs, az) of the picture; it ends with .png, .pdf or .svg",
    )
    verb.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    words = "; ".join(f"{name} {text}" for name, text in PROJECTION_WORDS.items())
    verb.add_argument(
        "--projection",
        choices=PROJECTION_WORDS,
        help=f"what a pixel shows of the voxels behind it (default: slice): {words}",
    )
    verb.add_argument("--plane", choices=PLANE_NAMES, help="planes that are shown (default: all)")
    _labels(verb)
    verb.add_argument(
        "--channels",
        metavar="LIST",
        help="indices or names, like 0,DAPI (default: those that are not switched off, "
        f"{SHOWN_CHANNELS} at most)",
    )
    verb.add_argument("--timepoint", type=int, metavar="N", help="time point (default: 0)")
    verb.add_argument(
        "--crop",
        metavar="AXIS=A:B,...",
        help="show this box alone: z=10:50,y=200:900 in voxels of each image, or z=5um:20um",
    )
    low, high = PICTURE_PERCENTILES
    verb.add_argument(
        "--percentiles",
        metavar="LOW,HIGH",
        help=f"of the pixels, that become black and full colour (default: {low:g},{high:g})",
    )
    verb.add_argument(
        "--colormap",
        metavar="NAME",
        help="of Matplotlib, like magma, for images of one channel (default: the channel's colour)",
    )
    verb.add_argument(
        "--no-inset",
        dest="inset",
        action="store_false",
        default=None,
        help="leave out the part that is shown enlarged",
    )
    verb.add_argument(
        "--title",
        dest="titles",
        metavar="TEXT",
        action="append",
        help="once for each image, in their order (default: their names)",
    )
    one, several = PICTURE_WIDTHS
    verb.add_argument(
        "--width",
        type=int,
        metavar="PIXELS",
        help=f"of the picture at most (default: {one} for one image, {several} for several)",
    )


def page_options(verb: argparse.ArgumentParser) -> None:
    """Add what `chunkscale.view` takes, besides the source and how it is reached."""
    verb.add_argument(
        "others", metavar="OTHER", nargs="*", help="shown beside it, at the same place"
    )
    _labels(verb)
    verb.add_argument(
        "--overlay",
        action="store_true",
        help="show all over one another, green and magenta: where two agree they are white",
    )
    verb.add_argument(
        "--no-browser",
        dest="browser",
        action="store_false",
        help="print the link, and open nothing",
    )
    verb.add_argument(
        "--port", type=int, metavar="N", default=0, help="of this machine (default: any)"
    )


def _labels(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--labels",
        metavar="all|NAME|PATH[,...]",
        help="draw labels over the images: all that they have, some by name, or other label "
        "images (default: none)",
    )
