"""Label images of an image, which its group `labels` has to list: readers find no others."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chunkscale.errors import (
    ChunkscaleError,
    ChunkscaleWarning,
    DestinationError,
    MetadataError,
    SourceNotFoundError,
)
from chunkscale.geometry.methods import find_method
from chunkscale.ome.model import Multiscale
from chunkscale.ome.read import describe
from chunkscale.ome.versions import holds_systems
from chunkscale.output.provenance import path_hash, source_hash
from chunkscale.output.record import level_paths, zarr_format_of
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.documents import group_document
from chunkscale.storage import objects as contents
from chunkscale.storage.groups import group_attributes, put_group, set_attributes
from chunkscale.storage.locations import above, join
from chunkscale.storage.names import LIST_LOCK
from chunkscale.storage.stores import store_of

#: Others may list theirs at the same time: so often they are waited for, and it is looked whether
#: ours is still there.
_ATTEMPTS = 20

#: Folders from a group of labels down to one of them, at most: names may have several parts.
_DEEPEST = 4


def check_label_place(plan: ResamplePlan, target: str) -> None:
    """Refuse a label image with mixed numbers, or of another format than its image."""
    group, _ = _label_place(target)
    if not group:
        return
    document = group_document(above(group))
    image = describe(document.attributes)
    newer = isinstance(image, Multiscale) and holds_systems(image.version)
    version = "0.4" if document.zarr_format == 2 else "0.6" if newer else "0.5"
    if version != plan.ngff_version:
        raise DestinationError(
            f"the output {target!r} is a label image of {above(group)!r}, which is of OME-Zarr "
            f"{version}, and would be of {plan.ngff_version}: readers find none of another "
            f"version; use ome_zarr_version={version!r} (--ome-zarr-version {version})"
        )
    if find_method(plan.method).kind in ("lerp", "weights") and np.dtype(plan.dtype).kind != "f":
        raise DestinationError(
            f"the output {target!r} is a label image of {above(group)!r}, and method "
            f"{plan.method!r} makes new numbers of those of two labels; use method='mode' "
            "(--method mode), or choose a path outside of 'labels'"
        )


def own_arrays(target: str, attributes: Mapping[str, Any]) -> list[str]:
    """Return the paths of the arrays of an output's labels, those that were made with it.

    Others below it, drawn by hand or made from something else, are not the output's to delete.
    """
    origin = source_hash(attributes)
    found: list[str] = []
    for place, inner in _made_below(target) if origin else ():
        if source_hash(inner) == path_hash(place, origin):
            found += [f"{place}/{path}" for path in level_paths(inner)]
    return found


def _made_below(target: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield paths and attributes of groups that may be labels: names may have several parts."""
    waiting = [f"labels/{name}" for name in contents.names(join(target, "labels"))]
    while waiting:
        place = waiting.pop()
        try:
            attributes = group_attributes(join(target, place))
        except SourceNotFoundError:
            if place.count("/") < _DEEPEST:
                waiting += [f"{place}/{name}" for name in contents.names(join(target, place))]
        except MetadataError:
            continue
        else:
            if attributes:
                yield place, attributes


def list_label(plan: ResamplePlan, target: str) -> None:
    """List a finished output where it is a label image; warn if that cannot be done."""
    group, name = _label_place(target)
    if not group:
        return
    reason: object = "others write there all the time"
    try:
        if plan.dtype.startswith("float"):
            warnings.warn(
                f"{target!r} is finished but not listed as a label image: labels must be "
                f"integers, and this is {plan.dtype}; do not write images below 'labels'",
                ChunkscaleWarning,
                stacklevel=6,
            )
            return
        with _alone(group):
            if _listed(plan, group, name):
                return
    except (OSError, ChunkscaleError) as error:
        reason = error
    warnings.warn(
        f"{target!r} is finished, but not listed as a label image in the attributes of {group!r}: "
        f"{reason}; add {name!r} to its 'labels' yourself",
        ChunkscaleWarning,
        stacklevel=6,
    )


@contextlib.contextmanager
def _alone(group: str) -> Iterator[None]:
    """Let others wait who want to list a label there; object stores cannot make them."""
    if not store_of(group).is_local:
        yield
        return
    lock, mine = join(group, LIST_LOCK), uuid.uuid4().hex.encode()
    for _ in range(_ATTEMPTS):
        try:
            contents.put(lock, mine, new=True)
            break
        except FileExistsError:
            time.sleep(random.uniform(0.05, 0.2))
    else:
        contents.put(lock, mine)  # whoever held it has died
    try:
        yield
    finally:
        with contextlib.suppress(FileExistsError):  # somebody took this run for dead
            contents.withdraw(lock, mine)


def depth_below_image(target: str) -> int:
    """Return how many names an output has below the labels of an image; 0 if it lies elsewhere."""
    group, name = _label_place(target)
    return name.count("/") + 1 if group else 0


def _label_place(target: str) -> tuple[str, str]:
    """Return the group of labels that an output lies in, and its name there; or twice nothing."""
    group, nowhere = target, ("", "")
    for _ in range(_DEEPEST):
        group = above(group)
        if group.replace("\\", "/").rpartition("/")[2] == "labels":
            break
    else:
        return nowhere
    try:
        image = describe(group_attributes(above(group)))
    except (SourceNotFoundError, MetadataError):
        return nowhere
    name = target.replace("\\", "/")[len(group) :].strip("/")
    return (group, name) if isinstance(image, Multiscale) else nowhere


def _listed(plan: ResamplePlan, group: str, name: str) -> bool:
    for _ in range(_ATTEMPTS):
        try:
            attributes = group_attributes(group)
        except SourceNotFoundError:
            put_group(group, zarr_format=zarr_format_of(plan), attributes={}, new=True)
            continue
        nested = zarr_format_of(plan) == 3
        inner: Any = attributes.get("ome", {}) if nested else attributes
        listed = inner.get("labels", []) if isinstance(inner, Mapping) else None
        if not isinstance(listed, list):
            raise MetadataError(f"'labels' is {listed!r}, not a list")
        if name in listed:
            return True
        added = {**inner, "labels": [*listed, name]}
        if nested:
            added = {**attributes, "ome": {"version": plan.ngff_version, **added}}
        set_attributes(group, added, instead_of=attributes)
        if not store_of(group).is_local:
            # Whoever read the list before that writes it back without this name within this time.
            time.sleep(random.uniform(0.02, 0.1))
    return False
