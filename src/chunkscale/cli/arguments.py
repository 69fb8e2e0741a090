"""The verbs of the command line and what each takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from chunkscale._version import __version__
from chunkscale.cli.commands import (
    check,
    demo,
    formats,
    info,
    plan,
    resample,
    show,
    view,
)
from chunkscale.cli.completion import SHELLS, PrintCompletion
from chunkscale.cli.options import (
    cluster_options,
    json_option,
    output_options,
    run_options,
    source_said,
    source_size,
    storage_options,
    target_options,
)
from chunkscale.cli.parsing import Parser
from chunkscale.cli.pictures import page_options, picture_options

_SOURCE = (
    "OME-Zarr image, or collection of images: local path, or URL with http(s), s3, gs or az; "
    "zip files (.ozx, .zip) are looked into; or a local file of another format (chunkscale "
    "formats), or a folder or pattern of planes like 'planes/z*.tif'"
)

_DESTINATION = "path or URL (s3, gs, az) of the output; a path that ends with .ozx is one file"


def make_parser() -> Parser:
    parser = Parser(
        prog="chunkscale",
        usage="chunkscale VERB ...",
        description="Resample OME-Zarr volumes of any size to isotropic voxels.",
        epilog="exit codes: 0 done, 1 failed while running, 2 refused before anything was "
        "written, 3 check found faults, 4 interrupted (run again with --resume)",
    )
    parser.add_argument("--version", action="version", version=f"chunkscale {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        action=PrintCompletion,
        help="print the script with which a shell completes verbs, options and paths",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, prog="chunkscale")
    for add in (_info, _plan, _resample, _check, _show, _view, _formats, _demo):
        add(verbs)
    parser.verbs = dict(verbs.choices)
    return parser


def _info(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "info SRC",
        "show what an image holds (shape, voxel size, levels), or which images a collection has",
        info,
        "chunkscale info stack.ome.zarr",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    source_size(verb)
    source_said(verb)
    storage_options(verb)
    json_option(verb)


def _plan(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "plan SRC [DST]",
        "show what resampling would read, compute and write, and the memory it takes",
        plan,
        "chunkscale plan stack.ome.zarr iso.ome.zarr --voxel-size 0.5 --memory 4GiB",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    place = f"also look whether it can be written: {_DESTINATION}"
    verb.add_argument("destination", metavar="DST", nargs="?", help=place)
    _resampling(verb)


def _resample(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "resample SRC DST",
        "resample an image and its labels, or a collection of images, into a new OME-Zarr",
        resample,
        "chunkscale resample stack.ome.zarr iso.ome.zarr --voxel-size finest",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    verb.add_argument("destination", metavar="DST", help=_DESTINATION)
    _resampling(verb)
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: print what 'chunkscale plan' prints with the same arguments",
    )


def _resampling(verb: Parser) -> None:
    """Add what `plan` and `resample` both take: one becomes the other by a word."""
    target_options(verb)
    run_options(verb)
    output_options(verb)
    cluster_options(verb)
    storage_options(verb, source=True)
    json_option(verb)
    verb.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing but errors and warnings"
    )


def _check(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "check DST",
        "verify that an image or a collection is complete and valid, and compare it with its "
        "source",
        check,
        "chunkscale check iso.ome.zarr --source stack.ome.zarr",
    )
    verb.add_argument("destination", metavar="DST", help="OME-Zarr image or collection")
    verb.add_argument(
        "--source",
        metavar="SRC",
        help="what it was made from: recompute some regions of every time point and channel, and "
        "compare every voxel of them",
    )
    verb.add_argument(
        "--full",
        action="store_true",
        help="with --source: recompute all regions, and let ome-zarr judge the metadata",
    )
    source_size(verb, " or, without --source, of DST")
    storage_options(verb, source=True)
    json_option(verb)
    verb.add_argument("-q", "--quiet", action="store_true", help="print nothing but what is wrong")


def _show(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "show SRC [OTHER ...] -o FILE",
        "draw images side by side: planes through their centres, or projections",
        show,
        "chunkscale show stack.ome.zarr iso.ome.zarr -o before-after.png --labels all",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    picture_options(verb)
    source_size(verb)
    source_said(verb)
    storage_options(verb)


def _view(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "view SRC [OTHER ...]",
        "show images in a browser, in one space, until Ctrl-C",
        view,
        "chunkscale view stack.ome.zarr iso.ome.zarr --labels all",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    page_options(verb)
    source_size(verb)
    source_said(verb)
    storage_options(verb)


def _formats(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "formats",
        "list the formats that are read, and what to do with others",
        formats,
        "chunkscale formats",
    )
    json_option(verb)


def _demo(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "demo [DIR]",
        "resample a synthetic stack in several ways, check the results, and draw them",
        demo,
        "chunkscale demo /tmp/chunkscale-demo",
    )
    verb.add_argument(
        "folder", metavar="DIR", nargs="?", help="where to put the files (default: chunkscale-demo)"
    )


def _verb(
    verbs: Any, usage: str, text: str, run: Callable[[argparse.Namespace], int], example: str
) -> Parser:
    verb: Parser = verbs.add_parser(
        usage.split()[0],
        usage=f"chunkscale {usage} [OPTION ...]",
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verb.set_defaults(run=run, writing=False)
    return verb
