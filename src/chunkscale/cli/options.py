"""The groups of options that verbs of the command line share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from chunkscale.api.defaults import DOWNSAMPLE_WORDS, METHOD_WORDS
from chunkscale.cli.parsing import number


def _listed(words: Mapping[Any, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in words.items())


def json_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON instead of text")


def target_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("target")
    group.add_argument(
        "--voxel-size",
        metavar="V",
        help="of the target: one for all axes like 0.5, or 1,0.5,0.5 (z,y,x), or z=1,x=0.5; in the "
        "source's unit, or with one like 500nm; finest, coarsest or same (default: finest)",
    )
    group.add_argument(
        "--zoom", type=number, metavar="F", help="divide the voxel size by F (default: 1)"
    )
    group.add_argument(
        "--factor",
        metavar="F",
        help="instead: F times as many voxels: 2, 0.5 for half, 5,1,1 (z,y,x) or z=5",
    )
    group.add_argument(
        "--shape",
        metavar="N,N,N",
        help="instead: number of voxels, like 256,256,256 (z,y,x) or z=256; the voxel size follows",
    )
    group.add_argument(
        "--like", metavar="OTHER", help="instead: the grid of another OME-Zarr image"
    )
    source_size(group)
    source_said(group)
    images = group.add_mutually_exclusive_group()
    images.add_argument(
        "--all",
        dest="images",
        action="store_const",
        const="all",
        help="all images of SRC, which is a plate, a series or a folder; DST is laid out alike",
    )
    images.add_argument(
        "--images", metavar="NAME[,NAME]", help="some of them, like B/03/0, B/*/0 or B/**"
    )
    group.add_argument(
        "--channels", metavar="LIST", help="only these channels: indices or names, like 0,DAPI"
    )
    group.add_argument(
        "--timepoints",
        metavar="LIST",
        help="only these time points, like 3:6 (3, 4 and 5) or 0,4,8",
    )
    group.add_argument(
        "--crop",
        metavar="AXIS=A:B,...",
        help="only this box, from A up to B, in voxels or lengths: z=10:50,y=200:900 or z=5um:20um",
    )
    labels = group.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels",
        metavar="NAME[,NAME]",
        help="labels that are resampled as well, onto the same grid (default: all of the image's)",
    )
    labels.add_argument(
        "--no-labels", dest="labels", action="store_false", default=None, help="resample no labels"
    )
    group.add_argument(
        "--label-method",
        choices=("mode", "nearest"),
        help="how these labels are resampled: by the most frequent label in the extent of the new "
        "voxel, or by the nearest (default: mode)",
    )
    group.add_argument(
        "--level",
        metavar="auto|N",
        help="stored level of SRC to read; auto takes the coarsest that is as fine as the target "
        "(default: 0, the finest)",
    )
    group.add_argument(
        "--method",
        choices=METHOD_WORDS,
        help="interpolation (default: linear; nearest for label images): " + _listed(METHOD_WORDS),
    )
    group.add_argument(
        "--antialias",
        action="store_true",
        help="smooth before downsampling (advisable where an axis shrinks more than twofold)",
    )
    group.add_argument(
        "--outside",
        metavar="edge|VALUE",
        help="value of voxels that lie outside SRC; edge repeats the nearest voxel (default: "
        "edge); only with --like",
    )


def source_size(group: Any, of_what: str = "") -> None:
    group.add_argument(
        "--source-voxel-size",
        metavar="V",
        help=f"of the source{of_what}, where its metadata are missing or wrong: 1,0.2,0.2 (z,y,x) "
        "or z=1,y=0.2,x=0.2, in its unit or with one like 500nm, which is taken for its own if it "
        "states none (default: as its metadata say)",
    )


def source_said(group: Any) -> None:
    group.add_argument(
        "--source-axes",
        metavar="AXES",
        help="axes of a file whose metadata do not name them, in order: zyx, tczyx, or QYX=zyx "
        "with the letters that the file has",
    )
    group.add_argument(
        "--source-unit",
        metavar="UNIT",
        help="unit of the voxel size of a file or an image that states none, like um or micrometer",
    )


def run_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("run")
    group.add_argument(
        "--chunk",
        metavar="N[,N,N]",
        help="voxels per chunk along each spatial axis (default: 64 in shards and 128 without, 512 "
        "and 1024 for planes; less where memory is short)",
    )
    group.add_argument(
        "--shard",
        metavar="N[,N,N]",
        help="voxels per shard along each spatial axis; 0 for no shards (default: what a region "
        "writes at a time; none in 0.4)",
    )
    group.add_argument(
        "--levels",
        type=int,
        metavar="N",
        help="number of resolution levels (default: until one fits into a chunk)",
    )
    group.add_argument(
        "--pyramid",
        choices=("auto", "all", "keep-z", "none"),
        help="axes that are halved from level to level; auto leaves out those whose voxels are at "
        "least twice as large as the smallest (default: auto)",
    )
    group.add_argument(
        "--downsample",
        choices=DOWNSAMPLE_WORDS,
        help="how coarser levels are made (default: mode with the methods nearest and mode, max "
        "with max, else mean): " + _listed(DOWNSAMPLE_WORDS),
    )
    group.add_argument(
        "--ome-zarr-version",
        choices=("0.5", "0.4", "0.6"),
        help="version of OME-Zarr to write (default: 0.5)",
    )
    group.add_argument(
        "--codec",
        metavar="NAME[:LEVEL]",
        help="compression: blosc-lz4 (default), blosc-zstd, zstd, gzip or none",
    )
    group.add_argument(
        "--checksum",
        choices=("none", "crc32c"),
        help="stored with each chunk, so that readers notice damage; not for 0.4 (default: none)",
    )
    group.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory for the whole run, like 4GiB; on a cluster for each worker process (default: "
        "half of free memory, at most 1 GiB plus 1 GiB per worker)",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="parallel regions (default: one per core, or as dask.config says)",
    )
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        help="where to compute; auto takes a GPU if there is one, gpu fails without one (default: "
        "auto)",
    )
    group.add_argument(
        "--device-memory",
        metavar="SIZE",
        help="memory on the GPU, like 8GiB (default: 80 %% of what is free there)",
    )


def output_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("output")
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace DST if it is one OME-Zarr image, an unfinished output, or a collection that "
        "chunkscale has written",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted run; mend DST if it is finished; start if nothing is there",
    )
    group.add_argument(
        "--take-over",
        action="store_true",
        help="proceed even if another run seems to be writing DST (holds its lease)",
    )
    group.add_argument("--log", metavar="FILE", help="append a line of JSON for every region")


def cluster_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("cluster")
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="run on a Dask cluster: tcp://host:8786, or a scheduler file",
    )
    group.add_argument(
        "--resources",
        metavar="NAME=N[,NAME=N]",
        help="Dask resources that each region requires of its worker, like GPU=1",
    )


def storage_options(verb: argparse.ArgumentParser, *, source: bool = False) -> None:
    group = verb.add_argument_group("object stores")
    group.add_argument(
        "--storage-option",
        metavar="KEY=VALUE",
        action="append",
        help="how to reach the store, repeatable: endpoint=URL, region=NAME, anon=true, "
        "profile=NAME, account=NAME; credentials come from the environment and from profile files",
    )
    if source:
        group.add_argument(
            "--source-storage-option",
            metavar="KEY=VALUE",
            action="append",
            help="the same for the source, if it differs",
        )
