"""The arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from chunkscale._version import __version__
from chunkscale.api.defaults import DOWNSAMPLE_WORDS, METHOD_WORDS
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
from chunkscale.cli.pictures import page_options, picture_options

_SOURCE = (
    "OME-Zarr image, or collection of images: local path, or URL with http(s), s3, gs or az; "
    "zip files (.ozx, .zip) are looked into; or a local file of another format (chunkscale "
    "formats), or a folder or pattern of planes like 'planes/z*.tif'"
)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chunkscale",
        description="Resample OME-Zarr volumes of any size to isotropic voxels.",
        epilog="exit codes: 0 done, 1 failed while running, 2 refused before anything was "
        "written, 3 check found faults, 4 interrupted (run again with --resume)",
    )
    parser.add_argument("--version", action="version", version=f"chunkscale {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    verb = _verb(
        verbs,
        "info",
        "say what an image or a collection of images is",
        info,
        "chunkscale info stack.ome.zarr",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    _source_size(verb)
    _source_said(verb)
    _storage_options(verb)
    _json_option(verb)

    verb = _verb(
        verbs,
        "plan",
        "say what resampling would read, compute and write",
        plan,
        "chunkscale plan stack.ome.zarr --voxel-size 0.5 --memory 4GiB",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    _target_options(verb)
    _run_options(verb)
    _storage_options(verb)
    _json_option(verb)

    verb = _verb(
        verbs,
        "resample",
        "resample an image and its labels, or a collection of images, into a new OME-Zarr",
        resample,
        "chunkscale resample stack.ome.zarr iso.ome.zarr --voxel-size finest",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    place = "path or URL (s3, gs, az) of the new one; a path that ends with .ozx is one file"
    verb.add_argument("destination", metavar="DST", help=place)
    _target_options(verb)
    _run_options(verb)
    verb.add_argument(
        "--overwrite",
        action="store_true",
        help="replace DST if it is one OME-Zarr image, an unfinished output, or a collection that "
        "chunkscale has written",
    )
    verb.add_argument(
        "--resume",
        action="store_true",
        help="continue what an interrupted run has left at DST; mend DST if it is finished; start "
        "if nothing is there",
    )
    verb.add_argument(
        "--take-over", action="store_true", help="also where another run seems to be writing DST"
    )
    verb.add_argument("--log", metavar="FILE", help="append a line of JSON for every region")
    _cluster_options(verb)
    _storage_options(verb, source=True)

    verb = _verb(
        verbs,
        "check",
        "say whether an image or a collection is complete, valid and right",
        check,
        "chunkscale check iso.ome.zarr --source stack.ome.zarr",
    )
    verb.add_argument("destination", metavar="DST", help="OME-Zarr image or collection")
    verb.add_argument(
        "--source",
        metavar="SRC",
        help="recompute regions of every time point and channel from what it was made from, and "
        "compare every voxel",
    )
    verb.add_argument(
        "--full",
        action="store_true",
        help="with --source: recompute all of it, and let ome-zarr judge its metadata",
    )
    _source_size(verb, " or, without --source, of DST")
    _storage_options(verb, source=True)
    _json_option(verb)

    verb = _verb(
        verbs,
        "show",
        "draw images side by side: planes through their centres, or projections",
        show,
        "chunkscale show stack.ome.zarr iso.ome.zarr -o before-after.png --labels all",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    picture_options(verb)
    _source_size(verb)
    _source_said(verb)
    _storage_options(verb)

    verb = _verb(
        verbs,
        "view",
        "show images in a browser, in one space, until Ctrl-C",
        view,
        "chunkscale view stack.ome.zarr iso.ome.zarr --labels all",
    )
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    page_options(verb)
    _source_size(verb)
    _source_said(verb)
    _storage_options(verb)

    verb = _verb(
        verbs,
        "formats",
        "list the formats that are read, and what to do with others",
        formats,
        "chunkscale formats",
    )
    _json_option(verb)

    verb = _verb(
        verbs,
        "demo",
        "resample a synthetic stack in every way, and look at it",
        demo,
        "chunkscale demo /tmp/chunkscale-demo",
    )
    verb.add_argument(
        "folder", metavar="DIR", nargs="?", help="where to put the files (default: chunkscale-demo)"
    )
    return parser


def _verb(
    verbs: Any, name: str, text: str, run: Callable[[argparse.Namespace], int], example: str
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verb.set_defaults(run=run, writing=False)
    return verb


def _listed(words: Mapping[Any, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in words.items())


def _json_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON")


def _target_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("target")
    group.add_argument(
        "--voxel-size",
        metavar="V",
        help="of the target, in the source's unit or with one: 0.5, 500nm, 1,0.5,0.5 or "
        "z=1,y=0.5,x=0.5; finest, coarsest or same (default: finest)",
    )
    group.add_argument(
        "--zoom", type=float, metavar="F", help="divide the voxel size by F (default: 1)"
    )
    group.add_argument(
        "--factor", metavar="F", help="instead: voxels times F, like 5,1,1 or z=5, 0.5 for half"
    )
    group.add_argument(
        "--shape",
        metavar="N,N,N",
        help="instead: voxels along the spatial axes, like 256,256,256 or z=256; the voxel size is "
        "the extent over them",
    )
    group.add_argument("--like", metavar="OTHER", help="take the grid of another OME-Zarr image")
    _source_size(group)
    _source_said(group)
    images = group.add_mutually_exclusive_group()
    images.add_argument(
        "--all",
        dest="images",
        action="store_const",
        const="all",
        help="all images of SRC, a plate, a series or a folder of images, which is mirrored",
    )
    images.add_argument(
        "--images", metavar="NAME[,NAME]", help="some of them, like B/03/0, B/*/0 or B/**"
    )
    group.add_argument(
        "--channels", metavar="LIST", help="take these alone: indices or names, like 0,DAPI"
    )
    group.add_argument(
        "--timepoints", metavar="LIST", help="take these alone, like 3:6 (without 6) or 0,4,8"
    )
    group.add_argument(
        "--crop",
        metavar="AXIS=A:B,...",
        help="take this box alone, in voxels or lengths, without its ends: z=10:50,y=200:900 or "
        "z=5um:20um",
    )
    labels = group.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels",
        metavar="NAME[,NAME]",
        help="labels that go along, onto the same grid (default: all of the image's)",
    )
    labels.add_argument(
        "--no-labels", dest="labels", action="store_false", default=None, help="leave them behind"
    )
    group.add_argument(
        "--label-method",
        choices=("mode", "nearest"),
        help="what these labels are made with: the most frequent one of the voxels that fall into "
        "one (default: mode), or the nearest",
    )
    group.add_argument(
        "--level",
        metavar="auto|N",
        help="read this stored level; auto takes the coarsest that is as fine as the target "
        "(default: 0, the finest)",
    )
    group.add_argument(
        "--method",
        choices=METHOD_WORDS,
        help="interpolation (default: linear; nearest for label images): " + _listed(METHOD_WORDS),
    )
    group.add_argument("--antialias", action="store_true", help="average where an axis shrinks")
    group.add_argument(
        "--outside",
        metavar="edge|VALUE",
        help="value of samples outside the source (default: edge); only with --like",
    )


def _source_size(group: Any, of_what: str = "") -> None:
    group.add_argument(
        "--source-voxel-size",
        metavar="V",
        help=f"of the source{of_what}, like 1,0.2,0.2 or z=1,y=0.2,x=0.2, where its metadata is "
        "missing or wrong (default: as its metadata says)",
    )


def _source_said(group: Any) -> None:
    group.add_argument(
        "--source-axes",
        metavar="AXES",
        help="of a file that does not say them, in order: zyx, tczyx, or QYX=zyx with the letters "
        "that the file has",
    )
    group.add_argument(
        "--source-unit",
        metavar="UNIT",
        help="of the voxel size of such a file, like micrometer",
    )


def _run_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("run")
    group.add_argument(
        "--chunk",
        metavar="N[,N,N]",
        help="voxels per chunk, per spatial axis (default: 64 in shards and 128 without, 512 and "
        "1024 for planes; less where memory is short)",
    )
    group.add_argument(
        "--shard",
        metavar="N[,N,N]",
        help="voxels per shard, per spatial axis; 0 for no shards (default: what a region writes "
        "at a time; none in 0.4)",
    )
    group.add_argument(
        "--levels",
        type=int,
        metavar="N",
        help="number of levels (default: until one fits into a chunk)",
    )
    group.add_argument(
        "--pyramid",
        choices=("auto", "all", "keep-z", "none"),
        help="axes that are halved from level to level: auto leaves those alone whose voxels are "
        "twice as large as the smallest (default: auto)",
    )
    group.add_argument(
        "--downsample",
        choices=DOWNSAMPLE_WORDS,
        help="what coarser levels are made with (default: mode with the methods nearest and mode, "
        "else mean): " + _listed(DOWNSAMPLE_WORDS),
    )
    group.add_argument(
        "--ome-zarr-version",
        choices=("0.5", "0.4", "0.6"),
        help="format of the output (default: 0.5)",
    )
    group.add_argument(
        "--codec",
        metavar="NAME[:LEVEL]",
        help="blosc-lz4 (default), blosc-zstd, zstd, gzip or none",
    )
    group.add_argument(
        "--checksum",
        choices=("none", "crc32c"),
        help="stored with each chunk, so that readers notice a flipped bit; not for 0.4 "
        "(default: none)",
    )
    group.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory for the whole run, like 4GiB (default: half of what is available, at most "
        "1 GiB and another for each worker)",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="regions at the same time (default: one per core, or as dask.config says)",
    )
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        help="where to compute; auto takes a GPU if there is one (default: auto)",
    )
    group.add_argument(
        "--device-memory",
        metavar="SIZE",
        help="memory for buffers on the GPU, like 8GiB (default: 80 %% of what is free there)",
    )


def _cluster_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("cluster")
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="run on a Dask cluster: tcp://host:8786, or a scheduler file",
    )
    group.add_argument(
        "--resources",
        metavar="NAME=N[,NAME=N]",
        help="what every region takes of a worker, like GPU=1",
    )


def _storage_options(verb: argparse.ArgumentParser, *, source: bool = False) -> None:
    group = verb.add_argument_group("object stores")
    group.add_argument(
        "--storage-option",
        metavar="KEY=VALUE",
        action="append",
        help="how to reach them, repeatable: endpoint=URL, region=NAME, anon=true, profile=NAME, "
        "account=NAME; credentials come from the environment and from profile files",
    )
    if source:
        group.add_argument(
            "--source-storage-option",
            metavar="KEY=VALUE",
            action="append",
            help="the same for the source, where that differs",
        )
