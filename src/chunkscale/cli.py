"""The command line: arguments in, text or JSON out.

Exit codes: 0 done, 1 failed while running, 2 refused before anything was
written, 3 check found faults, 4 interrupted (run again with --resume).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from chunkscale._version import __version__
from chunkscale.errors import (
    ChunkscaleError,
    ChunkscaleWarning,
    ClusterError,
    CorruptChunkError,
    DestinationError,
    OptionError,
    RegionError,
)
from chunkscale.report import info_text, plan_summary

if TYPE_CHECKING:
    from chunkscale.execute import Progress

__all__ = ["console", "main"]

DONE, FAILED, REFUSED, FAULTS, INTERRUPTED = 0, 1, 2, 3, 4


_SOURCE = "OME-Zarr image: local path, or URL with http(s), s3, gs or az"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chunkscale",
        description="Resample OME-Zarr volumes of any size to isotropic voxels.",
        epilog="exit codes: 0 done, 1 failed while running, 2 refused before anything was "
        "written, 3 check found faults, 4 interrupted (run again with --resume)",
    )
    parser.add_argument("--version", action="version", version=f"chunkscale {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    verb = _verb(verbs, "info", "say what an image or a collection of images is", _info,
                 "chunkscale info stack.ome.zarr")  # fmt: skip
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    _storage_options(verb)
    _json_option(verb)

    verb = _verb(verbs, "plan", "say what resampling would read, compute and write", _plan,
                 "chunkscale plan stack.ome.zarr --voxel-size 0.5 --memory 4GiB")  # fmt: skip
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    _target_options(verb)
    _run_options(verb)
    _storage_options(verb)
    _json_option(verb)

    verb = _verb(verbs, "resample", "resample an image into a new OME-Zarr", _resample,
                 "chunkscale resample stack.ome.zarr iso.ome.zarr --voxel-size finest")  # fmt: skip
    verb.add_argument("source", metavar="SRC", help=_SOURCE)
    verb.add_argument(
        "destination", metavar="DST", help="path or URL (s3, gs, az) of the new image"
    )
    _target_options(verb)
    _run_options(verb)
    verb.add_argument(
        "--overwrite", action="store_true",
        help="replace DST if it is one OME-Zarr image or an unfinished output",
    )  # fmt: skip
    verb.add_argument(
        "--resume", action="store_true",
        help="continue what an interrupted run has left at DST; mend DST if it is finished; start "
        "if nothing is there",
    )  # fmt: skip
    verb.add_argument(
        "--take-over", action="store_true",
        help="also where another run seems to be writing DST",
    )  # fmt: skip
    verb.add_argument("--log", metavar="FILE", help="append a line of JSON for every region")
    _cluster_options(verb)
    _storage_options(verb, source=True)

    verb = _verb(verbs, "check", "say whether an image is complete, valid and right", _check,
                 "chunkscale check iso.ome.zarr --source stack.ome.zarr")  # fmt: skip
    verb.add_argument("destination", metavar="DST", help="OME-Zarr image")
    verb.add_argument(
        "--source", metavar="SRC",
        help="recompute regions from the image it was made from, and compare every voxel",
    )  # fmt: skip
    _storage_options(verb, source=True)
    _json_option(verb)

    verb = _verb(verbs, "demo", "resample a synthetic stack in every way, and look at it", _demo,
                 "chunkscale demo /tmp/chunkscale-demo")  # fmt: skip
    verb.add_argument("folder", metavar="DIR", nargs="?",
                      help="where to put the files (default: chunkscale-demo)")  # fmt: skip
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


def _json_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON")


def _target_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("target")
    group.add_argument(
        "--voxel-size", metavar="V",
        help="of the target, in the source's unit: a number, 1,0.5,0.5 or z=1,y=0.5,x=0.5, finest "
        "or coarsest (default: finest)",
    )  # fmt: skip
    group.add_argument(
        "--zoom", type=float, metavar="F", help="divide the voxel size by F (default: 1)"
    )
    group.add_argument("--like", metavar="OTHER", help="take the grid of another OME-Zarr image")
    group.add_argument(
        "--source-voxel-size", metavar="V",
        help="of the source, like 1,0.2,0.2 or z=1,y=0.2,x=0.2, where its metadata is missing or "
        "wrong (default: as its metadata says)",
    )  # fmt: skip
    group.add_argument(
        "--method", choices=("linear", "nearest"),
        help="interpolation (default: linear; nearest for label images)",
    )  # fmt: skip
    group.add_argument("--antialias", action="store_true", help="average where an axis shrinks")
    group.add_argument(
        "--outside", metavar="edge|VALUE",
        help="value of samples outside the source (default: edge); only with --like",
    )  # fmt: skip


def _run_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("run")
    group.add_argument(
        "--chunk", metavar="N[,N,N]",
        help="voxels per chunk, per spatial axis (default: 64 in shards and 128 without, 512 and "
        "1024 for planes; less where memory is short)",
    )  # fmt: skip
    group.add_argument(
        "--shard", metavar="N[,N,N]",
        help="voxels per shard, per spatial axis; 0 for no shards (default: what a region writes "
        "at a time; none in 0.4)",
    )  # fmt: skip
    group.add_argument(
        "--levels", type=int, metavar="N",
        help="number of levels (default: until one fits into a chunk)",
    )  # fmt: skip
    group.add_argument(
        "--ome-zarr-version", choices=("0.5", "0.4"),
        help="format of the output (default: 0.5)",
    )  # fmt: skip
    group.add_argument(
        "--codec", metavar="NAME[:LEVEL]",
        help="blosc-lz4 (default), blosc-zstd, zstd, gzip or none",
    )  # fmt: skip
    group.add_argument(
        "--memory", metavar="SIZE",
        help="memory for the whole run, like 4GiB (default: half of what is available, at most "
        "1 GiB and another for each worker)",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=int, metavar="N",
        help="regions at the same time (default: one per core, one more where that saves a turn "
        "and memory allows, or as dask.config says)",
    )  # fmt: skip
    group.add_argument(
        "--device", choices=("auto", "cpu", "gpu"),
        help="where to compute; auto takes a GPU if there is one (default: auto)",
    )  # fmt: skip
    group.add_argument(
        "--device-memory", metavar="SIZE",
        help="memory for buffers on the GPU, like 8GiB (default: 80 %% of what is free there)",
    )  # fmt: skip


def _cluster_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("cluster")
    group.add_argument(
        "--scheduler", metavar="ADDRESS|FILE",
        help="run on a Dask cluster: tcp://host:8786, or a scheduler file",
    )  # fmt: skip
    group.add_argument(
        "--resources", metavar="NAME=N[,NAME=N]",
        help="what every region takes of a worker, like GPU=1",
    )  # fmt: skip


def _storage_options(verb: argparse.ArgumentParser, *, source: bool = False) -> None:
    group = verb.add_argument_group("object stores")
    group.add_argument(
        "--storage-option", metavar="KEY=VALUE", action="append",
        help="how to reach them, repeatable: endpoint=URL, region=NAME, anon=true, profile=NAME, "
        "account=NAME; credentials come from the environment and from profile files",
    )  # fmt: skip
    if source:
        group.add_argument(
            "--source-storage-option", metavar="KEY=VALUE", action="append",
            help="the same for the source, where that differs",
        )  # fmt: skip


def _mapping(pairs: Sequence[str] | None) -> dict[str, str] | None:
    if pairs is None:
        return None
    if not all("=" in pair for pair in pairs):
        # What stands there may be a secret.
        raise OptionError("storage options are given like endpoint=https://host:9000")
    return dict(pair.split("=", 1) for pair in pairs)


def _reach(arguments: argparse.Namespace) -> dict[str, Any]:
    reach = {"storage_options": _mapping(arguments.storage_option)}
    if "source_storage_option" in arguments:
        reach["source_storage_options"] = _mapping(arguments.source_storage_option)
    return reach


def _resources(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(number) for name, number in pairs}
    except ValueError:
        raise OptionError(f"resources {text!r} are not understood; give them like GPU=1") from None


_PLAN_OPTIONS = (
    "voxel_size", "zoom", "like", "source_voxel_size", "method", "antialias", "outside",
    "chunk", "shard", "levels", "ome_zarr_version", "codec", "memory", "workers", "device",
    "device_memory",
)  # fmt: skip


def _plan_options(arguments: argparse.Namespace) -> dict[str, Any]:
    # What is not given is left to the API, which has all defaults; the help repeats them as text.
    given = {name: getattr(arguments, name) for name in _PLAN_OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _info(arguments: argparse.Namespace) -> int:
    from chunkscale import api

    facts = api.info(arguments.source, **_reach(arguments))
    if arguments.json:
        _print_json(facts)
    else:
        print(info_text(facts))
    return DONE


def _plan(arguments: argparse.Namespace) -> int:
    from chunkscale import api

    plan = api.plan_resampling(arguments.source, **_plan_options(arguments), **_reach(arguments))
    if arguments.json:
        _print_json(plan.as_dict())
    else:
        print(plan)
    return DONE


def _resample(arguments: argparse.Namespace) -> int:
    from chunkscale.memory import limit_arenas

    limit_arenas()  # before the imports that start threads
    from chunkscale import api

    how = {
        "overwrite": arguments.overwrite,
        "resume": arguments.resume,
        "take_over": arguments.take_over,
    }
    reach = _reach(arguments)
    target = api.check_destination(
        arguments.destination, storage_options=reach["storage_options"], **how
    )
    resources = _resources(arguments.resources)
    with _terminable() as told, api.connect(None, arguments.scheduler, resources) as cluster:
        options = _plan_options(arguments)
        source = api.open_source(arguments.source, options.pop("source_voxel_size", None), **reach)
        plan = api.plan_resampling(
            source, destination=target, resume=arguments.resume, client=cluster,
            **options, **reach,
        )  # fmt: skip
        print(plan_summary(plan.as_dict(), cluster), flush=True)
        for text in plan.warnings:
            print(f"warning: {text}", file=sys.stderr)
        with _progress_bar(plan.region_count) as show:

            def shown(progress: Progress) -> None:
                show(progress)
                if told:
                    raise KeyboardInterrupt  # between two regions

            arguments.writing = True
            run = api.carry_out(
                plan, target, source=source, client=cluster, log=arguments.log, progress=shown,
                **how,
            )  # fmt: skip
    print(run)
    return DONE


@contextlib.contextmanager
def _terminable() -> Iterator[list[int]]:
    """Yield a list that gets the number of a SIGTERM; a second one does not wait."""
    told: list[int] = []

    def tell(number: int, frame: object) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)

    try:
        before = signal.signal(signal.SIGTERM, tell)
    except ValueError:  # not in the main thread
        yield told
        return
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(arguments: argparse.Namespace) -> int:
    from chunkscale import api

    report = api.check(arguments.destination, source=arguments.source, **_reach(arguments))
    if arguments.json:
        _print_json(report.as_dict())
    else:
        print(report)
    return DONE if report else FAULTS


def _demo(arguments: argparse.Namespace) -> int:
    from chunkscale.demo import run_demo

    arguments.writing = True
    given = () if arguments.folder is None else (arguments.folder,)
    return DONE if run_demo(*given) else FAULTS


@contextlib.contextmanager
def _progress_bar(regions: int) -> Iterator[Callable[[Progress], None]]:
    """Yield a progress callback; it draws nothing where stderr is no terminal."""
    from tqdm import tqdm

    with tqdm(
        total=regions,
        unit=" regions",
        disable=None,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit}, {postfix}",
    ) as bar:

        def show(progress: Progress) -> None:
            if bar.disable:
                return
            seconds = max(progress.seconds, 1e-9)
            left = (progress.total_voxels - progress.voxels) * seconds / max(progress.voxels, 1)
            bar.set_postfix_str(
                f"{progress.voxels / seconds / 1e6:.0f} Mvoxel/s, "
                f"{progress.nbytes / seconds / 2**20:.0f} MiB/s, {tqdm.format_interval(left)} left",
                refresh=False,
            )
            bar.update(progress.regions - bar.n)

        yield show


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print this package's warnings as those of a plan are, without a line of source code."""
    before = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        if not issubclass(category, ChunkscaleWarning):
            before(message, category, filename, lineno, file, line)
            return
        from tqdm import tqdm

        tqdm.write(f"warning: {message}", file=sys.stderr)  # above the bar, where there is one

    with warnings.catch_warnings():
        warnings.simplefilter("always", ChunkscaleWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.showwarning = before  # not every Python's `catch_warnings` does it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default: those of the process.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _plain_warnings():
            code: int = arguments.run(arguments)
            return code
    except BrokenPipeError:
        # The reader of a pipe (head, say) has left; there is no one to tell.
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        rest = "; the output is unfinished and opens as no image; run again with --resume"
        begun = arguments.verb == "resample" and arguments.writing
        message, code = "interrupted" + rest * begun, INTERRUPTED
    except (ChunkscaleError, OSError) as error:
        message = str(error)
        code = REFUSED if _is_refusal(error, arguments.writing) else FAILED
        if arguments.debug:
            raise
    print(f"chunkscale: error: {message}", file=sys.stderr)
    return code


def _is_refusal(error: Exception, writing: bool) -> bool:
    """Whether nothing was written when this was raised; `writing` from when it could be."""
    if isinstance(error, DestinationError | OptionError):
        return True  # what looks at the output and the options comes before the first write
    if isinstance(error, RegionError | CorruptChunkError | ClusterError):
        return False
    return isinstance(error, ChunkscaleError) and not writing


def console() -> NoReturn:
    """Run the command line as this process, and end it at once.

    The destructors of the libraries would map 80 MB of their files again: more
    than was promised, and to no one's good.
    """
    code = main()
    try:
        sys.stdout.flush()
    except OSError:  # its reader has left, or the disk is full
        code = code or FAILED
    os._exit(code)
