"""Make a finished output an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkscale._version import __version__
from chunkscale.errors import ChunkscaleError, MetadataError, RegionError
from chunkscale.geometry.grid import aligned_grid
from chunkscale.ome.axes import axis_entries
from chunkscale.ome.carry import carried, json_safe
from chunkscale.ome.further import Coordinates, coordinate_record
from chunkscale.ome.model import Dataset
from chunkscale.ome.said import RECORD
from chunkscale.ome.versions import ngff_namespace
from chunkscale.ome.write import downscaling_metadata, multiscale_attributes
from chunkscale.output.labels import depth_below_image
from chunkscale.output.packed_place import BESIDE
from chunkscale.output.places import check_links, tidy
from chunkscale.output.provenance import public_text, published
from chunkscale.output.record import STATE_KEYS, recipe
from chunkscale.output.sweep import measured
from chunkscale.output.watch import check_source
from chunkscale.output.writing import Output
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Source
from chunkscale.sources.coordinates import coordinates_of
from chunkscale.storage.documents import encoded
from chunkscale.storage.groups import set_attributes


def publish(plan: ResamplePlan, output: Output, source: Source) -> int:
    """Make a finished output an image; return the stored bytes of its levels.

    Parameters
    ----------
    plan : ResamplePlan
    output : Output
    source : Source

    Raises
    ------
    RegionError
        If another run has replaced the output or taken it over, or if the
        source is not what it was when the run began, or if objects of the
        output are not there any more.
    """
    target, names = output.uri, [level.path for level in plan.levels]
    if output.attributes["chunkscale"]["state"] == "finished":
        return tidy(target, plan)[2]  # it was whole
    output.ledger.check()
    check_source(source)
    _check_arrays(output)
    counts, sizes, nbytes = tidy(target, plan)
    if sum(sizes.values()) != output.ledger.stored:
        check_links(target, names)
        _check_objects(plan, output)
    state = {"objects": counts, "bytes": sizes, "state": "finished"}
    finished = composed(plan, target, source, output.attributes["chunkscale"], state)
    output.ledger.check()
    # Last of all: from here on a reader takes the group for an image.
    if not set_attributes(target, finished, instead_of=output.attributes):
        raise RegionError(
            f"the output {target!r} was replaced by another run while this one was writing it; "
            "run one of them again"
        )
    return nbytes


def composed(
    plan: ResamplePlan,
    target: str,
    source: Source,
    begun: Mapping[str, Any],
    state: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the attributes of a finished output.

    Parameters
    ----------
    plan : ResamplePlan
    target : str
    source : Source
    begun : mapping
        Its record as long as it is unfinished.
    state : mapping
        What the record says of the objects.
    """
    name = source.name or target.removesuffix(BESIDE).rstrip("/").rsplit("/", 1)[-1]
    record = {name: value for name, value in begun.items() if name not in STATE_KEYS}
    # Not the grid of the plan, which is that of a coarser level where one is read.
    origin = aligned_grid(source.whole, plan.target_grid)
    kept, notices = carried(source.attributes, origin, plan.target_grid, plan.source.dtype)
    left = (n for n in plan.warnings if n.kind in ("lost", "asked", "converted"))
    notices = tuple(dict.fromkeys((*source.notices, *left, *notices)))
    if notices:
        record["notices"] = [public_text(str(notice), plan.source.title) for notice in notices]
    if plan.labels:
        record["labels"] = [path for path, _ in plan.labels]
    axes = axis_entries(plan.target_grid.axes)
    made = coordinates_of(source, plan.target_grid.axes, [path for path, _ in plan.labels])
    if left_out := coordinate_record(made, plan.ngff_version, axes):
        record[RECORD] = json_safe(left_out)[0]
    attributes = _image_attributes(plan, kept, name, made)
    if plan.source.is_label:
        _say_whose(attributes, target)
    return {**attributes, "chunkscale": {**published(record), **state}}


def rehearse(plan: ResamplePlan, target: str, source: Source) -> None:
    """Try what an output is published with before it is begun: hours later it would be too late.

    Raises
    ------
    MetadataError
        If what is carried over cannot be written.
    """
    try:
        encoded(composed(plan, target, source, recipe(plan, source), {}))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ChunkscaleError):
            raise
        raise MetadataError(
            f"the metadata of {source.uri or source.path!r} cannot be copied to the output "
            f"{target!r}: {error}; correct them in the source"
        ) from error


def _image_attributes(
    plan: ResamplePlan, kept: Mapping[str, Any], name: str, made: Coordinates
) -> dict[str, Any]:
    """Return the attributes that make a finished group an image, with what is taken over."""
    levels = [
        Dataset(
            path=level.path,
            voxel_size=level.grid.voxel_size,
            translation=level.grid.translation,
        )
        for level in plan.levels
    ]
    return multiscale_attributes(
        version=plan.ngff_version,
        axes=plan.target_grid.axes,
        levels=levels,
        name=name,
        kind=plan.downsample,
        metadata=downscaling_metadata(
            f"chunkscale.resample ({plan.downsample})",
            version=__version__,
            parameters={
                "method": plan.method,
                "antialias": plan.antialias,
                "pyramid": plan.pyramid,
                "downsample": plan.downsample,
            },
        ),
        source=kept,
        is_label=plan.source.is_label,
        coordinates=made,
    )


def _say_whose(attributes: dict[str, Any], target: str) -> None:
    """Let labels that lie below an image say so, as NGFF has it."""
    label = ngff_namespace(attributes).get("image-label")
    if isinstance(label, dict) and (depth := depth_below_image(target)):
        label["source"] = {"image": "../" * (depth + 1)}


def _check_arrays(output: Output) -> None:
    """Refuse an output of which an array's metadata have gone or changed, or lie elsewhere."""
    for writer in output.levels:
        writer.refuse_links()
        if found := writer.fate():
            raise RegionError(
                f"the metadata of the array {writer.uri!r} {found} since this run started to "
                "write it, so the output is incomplete. Find out what changes it; if it is gone, "
                "continue with resume=True (--resume), which makes them again, or else replace "
                "the output with overwrite=True (--overwrite)"
            )


#: Regions that a message names.
SHOWN_REGIONS = 3


def _check_objects(plan: ResamplePlan, output: Output) -> None:
    """Refuse an output of which something is missing, or was changed, since it was stored."""
    noted = output.ledger.noted(plan.region_count)
    there, _ = measured(plan, output.levels)
    wrong = np.flatnonzero(noted != there).tolist()
    if not wrong:
        return  # what is there besides is no part of it
    shown = ", ".join(
        f"{index} (voxels {plan.region(index).boxes[0][1]} of level "
        f"{plan.region(index).boxes[0][0]})"
        for index in wrong[:SHOWN_REGIONS]
    )
    more = f" and {len(wrong) - SHOWN_REGIONS} more" if len(wrong) > SHOWN_REGIONS else ""
    raise RegionError(
        f"stored objects of the output {output.uri!r} are missing or have changed since this run "
        f"wrote them, so it is incomplete: region {shown}{more}. Find out what deletes them (a "
        "cleanup job?), and continue with resume=True (--resume), which makes them again"
    )
