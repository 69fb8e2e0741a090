"""Where an output may be made, continued or replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    DestinationError,
    MetadataError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.output import leases
from chunkscale.output.labels import own_arrays
from chunkscale.output.notes import is_packed, seen_through
from chunkscale.output.places import check_links, check_parent, foreign_entries, is_blank, tidy
from chunkscale.output.record import (
    STATE_KEYS,
    Found,
    check_same,
    is_unfinished,
    layout_fault,
    level_paths,
    recipe,
)
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.plan.model import ResamplePlan, SourceArray
from chunkscale.sources.base import Source
from chunkscale.sources.formats import format_end
from chunkscale.storage import objects as contents
from chunkscale.storage.groups import group_attributes
from chunkscale.storage.locations import join, nearest
from chunkscale.storage.names import NOTES
from chunkscale.storage.stores import normalise, resolved, same_store, store_of
from chunkscale.storage.zips.store import ENDS
from chunkscale.text import human_bytes

#: Times that compression makes no image smaller, unless nearly all of it is fill value.
MOST_COMPRESSION = 1000


def checked_destination(
    destination: PathLike, existing: Existing, storage_options: StorageOptions | None = None
) -> str:
    """Return the output path, or refuse it."""
    target = writable(destination, existing, storage_options)
    check_place(target, existing)
    check_parent(target)
    check_name(target)
    return target


def writable(
    destination: PathLike, existing: Existing, storage_options: StorageOptions | None
) -> str:
    """Return the output path, or refuse one to which nobody writes, whatever is there."""
    if existing.resume and existing.overwrite:
        raise OptionError(
            "resume continues an output, overwrite replaces it; give only one of them"
        )
    target = normalise(destination, storage_options)
    store = store_of(target)
    if not store.writable:
        raise OptionError(
            f"the output {target!r} is {store.kind}, which is read-only; write to a local path, "
            "or to s3://, gs:// or az://"
        )
    if target.lower().endswith(ENDS):
        stem = os.path.splitext(target)[0]
        raise DestinationError(
            f"the output {target!r} has a name like a zip file; give it a name like "
            f"{stem + '.ozx'!r}, which OME-Zarr in one file ends with, or like "
            f"{stem + '.zarr'!r} for a folder"
        )
    return target


_PICTURES = (".png", ".jpg")


def check_name(target: str) -> None:
    """Refuse names that promise what is not written: no program opens a folder called so."""
    if end := format_end(target) or next(filter(target.lower().endswith, _PICTURES), ""):
        raise DestinationError(
            f"the output {target!r} has a name like another format ({end}), but an OME-Zarr "
            f"image is written; give a name like {target[: -len(end)] + '.zarr'!r}"
        )


def check_place(target: str, existing: Existing) -> None:
    """Refuse a place that holds what may not be replaced or continued."""
    if not contents.exists(target):
        return
    check_links(target)
    leases.check_free(target, take_over=existing.take_over)
    wanted = existing.resume or existing.overwrite
    if not (is_blank(target) and (wanted or is_packed(target))):
        state = _disposable_state(target, existing.overwrite)
        if not wanted:
            raise DestinationError(
                f"the output {target!r} exists{state}; choose another path, or replace it with "
                "overwrite=True (--overwrite)"
                + (", or continue with resume=True (--resume)" if "not finish" in state else "")
            )


def _disposable_state(target: str, overwrite: bool) -> str:
    """Refuse what is no image, or not just one image if it is to go; say what is there."""
    if os.path.isdir(target) and not os.listdir(target):  # no object store has such
        return " (an empty directory)"
    try:
        attributes = group_attributes(target)
        record = attributes.get("chunkscale")
        arrays = [*level_paths(attributes), *own_arrays(target, attributes)]
        goes = overwrite or _is_rest(record)
        foreign = foreign_entries(target, arrays) if goes else []
    except ChunkscaleError as error:
        raise DestinationError(
            f"the output {target!r} exists and is not an OME-Zarr image, so it is never "
            "overwritten; choose another path, or remove it yourself"
        ) from error
    if foreign:
        raise DestinationError(
            f"the output {target!r} exists and holds more than one image ({foreign[0]!r}), so it "
            "is never overwritten; choose another path or remove it yourself"
        )
    return " (the output of a run that did not finish)" if is_unfinished(record) else ""


def is_free(target: str) -> bool:
    """Whether a run may begin here although something is stored: less than an output."""
    return is_blank(target) or _is_rest(group_attributes(target).get("chunkscale"))


def _is_rest(record: object) -> bool:
    """Whether a record is that of an image whose deletion was interrupted."""
    return is_unfinished(record) and "regions" not in record and "kind" not in record


def check_apart(source: SourceArray, target: str) -> None:
    """Refuse an output in the source, and one that holds it; links are followed."""
    if source.uri:
        refuse_overlap(source.uri, (source.uri, join(source.uri, source.path)), target)


def refuse_overlap(uri: str, parts: Sequence[str], target: str) -> None:
    """Refuse an output that is a part of a source, lies in one or holds one; links are followed."""
    if not same_store(uri, target):
        return
    output = resolved(target)
    for part in parts:
        origin = resolved(part)
        if origin == output:
            raise DestinationError(
                f"the output {target!r} is the source itself; choose another path"
            )
        for inner, outer, text in (
            (output, origin, "lies inside the source"),
            (origin, output, "holds the source"),
        ):
            if inner.startswith(os.path.join(outer, "")):
                raise DestinationError(
                    f"the output {target!r} {text} {uri!r}; choose a path outside of it"
                )


def check_unread(source: SourceArray, target: str) -> None:
    """Refuse to delete an image where the source may read from it, and does not tell."""
    if contents.exists(target) and not is_free(target):
        if is_unfinished(group_attributes(target).get("chunkscale")):
            return
        raise DestinationError(
            f"the output {target!r} may be read by the {source.path}, so it is not overwritten; "
            "choose another path, or remove it yourself"
        )


def check_room(plan: ResamplePlan, target: str) -> None:
    """Refuse what no codec makes fit where it goes; what one might is warned of by the plan."""
    free = store_of(target).free_bytes(target)
    if free is not None and plan.bytes_written > MOST_COMPRESSION * free:
        raise DestinationError(
            f"{human_bytes(plan.bytes_written)} would be written before compression, over "
            f"{MOST_COMPRESSION} times the {human_bytes(free)} that are free for the output "
            f"{target!r}; choose a larger voxel size, or another disk"
        )


def unfinished(target: str) -> Found | None:
    """Return what can be continued at a path; None where a run would start afresh.

    Raises
    ------
    DestinationError
        If something else is there.
    """
    if not contents.exists(target) or is_blank(target):
        return None
    try:
        record = group_attributes(target).get("chunkscale")
    except (SourceNotFoundError, MetadataError) as error:
        if isinstance(error, AccessDeniedError):
            raise
        raise DestinationError(
            f"the output {target!r} exists but cannot be read ({error}), so it cannot be "
            "resumed; choose another path, or remove it yourself"
        ) from error
    if _is_rest(record):
        return None
    fault = layout_fault(record)
    if fault or not isinstance(record, Mapping):
        raise DestinationError(
            f"the output {target!r} does not say how it was made ({fault}), so it cannot be "
            "resumed; choose another path or remove it yourself"
        )
    objects, sizes = record.get("objects"), record.get("bytes")
    return Found(
        recipe={name: value for name, value in record.items() if name not in STATE_KEYS},
        finished=record.get("state") == "finished",
        memory=record.get("memory", 0),
        objects=dict(objects) if isinstance(objects, Mapping) else {},
        sizes=dict(sizes) if isinstance(sizes, Mapping) else {},
    )


def is_whole(plan: ResamplePlan, source: Source, target: str) -> int:
    """Return the stored bytes of an output that is finished as planned, and has all its objects.

    0 if it is not; nothing is read of it but its list.
    """
    found = unfinished(target)
    if found is None or not found.finished or contents.exists(join(target, NOTES)):
        return 0  # who was killed when it had been published has left notes
    check_same(target, found, recipe(plan, source))
    counts, sizes, nbytes = tidy(target, plan)
    return nbytes if (counts, sizes) == (found.objects, found.sizes) else 0


#: Levels of other programs lie so many folders below their image, or fewer.
_DEEPEST = 4


def check_by_content(source: SourceArray, target: str) -> None:
    """Refuse to delete what is the source, or holds it, by another name.

    Where that cannot be told, because a server refuses what it has no rule for or the disk is
    full, an output is not deleted that has the very attributes of the source.
    """
    if source.uri:
        refuse_same((source.uri, join(source.uri, source.path)), target)


def refuse_same(parts: Sequence[str], target: str) -> None:
    """Refuse to delete what is a part of a source by another name; see `check_by_content`."""
    places = list(
        dict.fromkeys(place for part in parts for place in nearest(resolved(part), _DEEPEST))
    )
    for place, same in seen_through(target, places).items():
        if same or (same is None and _are_alike(place, target)):
            what = "is the source itself, or holds it," if same else "looks like the source,"
            raise DestinationError(
                f"the output {target!r} {what} reached by another name ({place!r}); choose "
                "another path"
            )


def _are_alike(one: str, other: str) -> bool:
    """Whether two groups have the same attributes, and any at all."""
    try:
        found = group_attributes(one)
        return bool(found) and found == group_attributes(other)
    except ChunkscaleError:
        return False  # one of them is none
