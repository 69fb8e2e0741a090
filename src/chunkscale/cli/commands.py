"""The verbs of the command line."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from chunkscale.cli.screen import print_json, terminable
from chunkscale.errors import Notice, OptionError
from chunkscale.parameters import Existing
from chunkscale.report.images import formats_text, info_text
from chunkscale.report.plans import run_summary
from chunkscale.text import count, escaped

if TYPE_CHECKING:
    from chunkscale.api.parameters import PlanParameters
    from chunkscale.api.request import Request
    from chunkscale.run.records import Progress

DONE, FAILED, REFUSED, FAULTS, INTERRUPTED = 0, 1, 2, 3, 4


def _mapping(pairs: Sequence[str] | None) -> dict[str, str] | None:
    if pairs is None:
        return None
    if not all("=" in pair for pair in pairs):
        # What stands there may be a secret.
        raise OptionError("storage options are given like endpoint=https://host:9000")
    return dict(pair.split("=", 1) for pair in pairs)


def reach_options(arguments: argparse.Namespace) -> dict[str, Any]:
    reach = {"storage_options": _mapping(arguments.storage_option)}
    if "source_storage_option" in arguments:
        reach["source_storage_options"] = _mapping(arguments.source_storage_option)
    return reach


def parse_resources(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(number) for name, number in pairs}
    except ValueError:
        raise OptionError(f"resources {text!r} are not understood; give them like GPU=1") from None


_PLAN_OPTIONS = (
    "voxel_size",
    "zoom",
    "factor",
    "shape",
    "like",
    "source_voxel_size",
    "source_axes",
    "source_unit",
    "channels",
    "timepoints",
    "crop",
    "labels",
    "label_method",
    "level",
    "method",
    "antialias",
    "outside",
    "chunk",
    "shard",
    "levels",
    "pyramid",
    "downsample",
    "ome_zarr_version",
    "codec",
    "checksum",
    "memory",
    "workers",
    "device",
    "device_memory",
)


def _plan_options(arguments: argparse.Namespace) -> PlanParameters:
    # What is not given is left to the API, which has all defaults; the help repeats them as text.
    given = {name: getattr(arguments, name) for name in _PLAN_OPTIONS}
    given["axes"] = given.pop("source_axes")
    return cast("PlanParameters", {k: value for k, value in given.items() if value is not None})


def info(arguments: argparse.Namespace) -> int:
    from chunkscale.api.describing import info

    size = arguments.source_voxel_size
    facts = info(
        arguments.source,
        source_voxel_size=size,
        axes=arguments.source_axes,
        source_unit=arguments.source_unit,
        **reach_options(arguments),
    )
    if arguments.json:
        print_json(facts)
    else:
        print(info_text(facts))
    return DONE


def plan(arguments: argparse.Namespace) -> int:
    """Print what a run would do; with a destination also whether it can be written."""
    from chunkscale.api.resampling import look
    from chunkscale.run.connect import connect

    resources = parse_resources(arguments.resources)
    with connect(None, arguments.scheduler, resources) as cluster:
        found = look(
            arguments.source,
            arguments.destination,
            _request(arguments),
            _existing(arguments),
            cluster,
        )
    place, refusal = arguments.destination, found.refusal
    if arguments.json:
        told = {"path": place, "refusal": refusal and str(refusal)}
        told |= {} if found.done is None else {"regions_done": found.done}
        print_json({**found.plan.as_dict(), **({"destination": told} if place else {})})
    elif arguments.quiet:
        _print_warnings(found.plan.warnings)
    else:
        print(found.plan)
        if place and refusal is None:
            print(escaped(f"output   {place} can be written"))
        if found.done:
            print(f"resume   {found.done} of {count(found.regions, 'region')} already done")
    if refusal is not None:
        raise refusal
    return DONE


def resample(arguments: argparse.Namespace) -> int:
    from chunkscale.api.resampling import prepare
    from chunkscale.progress import reporting
    from chunkscale.run.connect import connect

    if arguments.dry_run:
        return plan(arguments)
    request, resources = _request(arguments), parse_resources(arguments.resources)
    is_text = not (arguments.json or arguments.quiet)
    with (
        terminable(lambda: arguments.writing) as told,
        connect(None, arguments.scheduler, resources) as cluster,
    ):
        prepared = prepare(
            arguments.source, arguments.destination, request, _existing(arguments), cluster
        )
        if is_text:
            print(run_summary(prepared.plan.as_dict(), cluster), flush=True)
        _print_warnings(prepared.plan.warnings)
        with reporting(not arguments.quiet, prepared.regions) as show:

            def shown(progress: Progress) -> None:
                if show is not None:
                    show(progress)
                if told:
                    raise KeyboardInterrupt  # between two regions

            arguments.writing = True
            run = prepared.carry_out(log=arguments.log, progress=shown)
    if arguments.json:
        print_json(run.as_dict())
    elif is_text:
        print(run)
    return DONE


def _request(arguments: argparse.Namespace) -> Request:
    from chunkscale.api.request import request_of

    reach = reach_options(arguments)
    options = _plan_options(arguments)
    options["source_storage_options"] = reach["source_storage_options"]
    return request_of(options, reach["storage_options"], arguments.images)


def _existing(arguments: argparse.Namespace) -> Existing:
    return Existing(
        overwrite=arguments.overwrite, resume=arguments.resume, take_over=arguments.take_over
    )


def _print_warnings(warnings: Iterable[Notice]) -> None:
    for notice in warnings:
        if notice.kind != "asked":
            print(f"warning: {notice}", file=sys.stderr)


def check(arguments: argparse.Namespace) -> int:
    from chunkscale.api.images import check

    report = check(
        arguments.destination,
        source=arguments.source,
        source_voxel_size=arguments.source_voxel_size,
        full=arguments.full,
        progress=not arguments.quiet,
        **reach_options(arguments),
    )
    if arguments.json:
        print_json(report.as_dict())
    elif not (report and arguments.quiet):
        print(report)
    return DONE if report else FAULTS


_SHOW_OPTIONS = (
    "projection",
    "plane",
    "channels",
    "timepoint",
    "crop",
    "percentiles",
    "colormap",
    "inset",
    "titles",
    "width",
    "source_voxel_size",
    "source_unit",
)


def show(arguments: argparse.Namespace) -> int:
    from chunkscale.api.pictures import show

    given = {name: getattr(arguments, name) for name in _SHOW_OPTIONS}
    options: Any = {name: value for name, value in given.items() if value is not None}
    picture = show(
        arguments.source,
        *arguments.others,
        output=arguments.output,
        overwrite=arguments.overwrite,
        labels=labels_option(arguments),
        axes=arguments.source_axes,
        **options,
        **reach_options(arguments),
    )
    print(f"{arguments.output}: {picture}")
    return DONE


def view(arguments: argparse.Namespace) -> int:
    from chunkscale.api.viewing import view

    with (
        terminable(lambda: False),
        view(
            arguments.source,
            *arguments.others,
            labels=labels_option(arguments),
            overlay=arguments.overlay,
            browser=arguments.browser,
            port=arguments.port,
            source_voxel_size=arguments.source_voxel_size,
            axes=arguments.source_axes,
            source_unit=arguments.source_unit,
            **reach_options(arguments),
        ) as page,
        contextlib.suppress(KeyboardInterrupt),  # once the link is there, that is the end
    ):
        print(f"{page.url}\nserved to this machine alone, until Ctrl-C", flush=True)
        threading.Event().wait()
    return DONE


def labels_option(arguments: argparse.Namespace) -> bool | str:
    """Return what `--labels` asks for, as `show` and `view` take it."""
    found: bool | str = {None: False, "all": True}.get(arguments.labels, arguments.labels)
    return found


def formats(arguments: argparse.Namespace) -> int:
    from chunkscale.api.describing import formats

    rows = formats()
    if arguments.json:
        print_json(rows)
    else:
        print(formats_text(rows))
    return DONE


def demo(arguments: argparse.Namespace) -> int:
    from chunkscale.demo import run_demo

    arguments.writing = True
    given = () if arguments.folder is None else (arguments.folder,)
    return DONE if run_demo(*given) else FAULTS
