"""The output of a run: when it may be made, begun, continued and published.

An output that is not finished says so in its attributes, next to what it is
made of (the *recipe*): whoever continues it must follow the very same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from chunkscale import ledger, ome, storage
from chunkscale._version import __version__
from chunkscale.errors import ChunkscaleError, DestinationError, OptionError, RegionError
from chunkscale.ledger import Ledger
from chunkscale.plan import ResamplePlan, SourceArray
from chunkscale.report import human_bytes
from chunkscale.storage import ArrayReader, ArrayWriter, StoreIO
from chunkscale.verify import read_all

__all__ = [
    "Found",
    "Output",
    "StoredLayout",
    "check_apart",
    "check_destination",
    "check_room",
    "check_same",
    "publish",
    "recipe",
    "stored_layout",
    "unfinished",
    "writing",
]

#: Times that compression makes no image smaller, unless nearly all of it is fill value.
MOST_COMPRESSION = 1000
#: Regions that a message names.
SHOWN_REGIONS = 3
#: Seconds before each further look at a source whose store fails when the output is complete.
LOOK_WAITS = (0.2, 0.8, 3.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An output of this package that is there already.

    Parameters
    ----------
    recipe : dict
        What it is made of; see `recipe`.
    finished : bool
    memory : int
        What the plan of the run promised that began it; 0 if it is finished.
    objects : dict
        Stored objects by level, as counted when it was finished.
    """

    recipe: dict[str, Any]
    finished: bool
    memory: int
    objects: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output that this run writes.

    Parameters
    ----------
    uri : str
    levels : tuple of ArrayWriter
    attributes : dict
        As long as it is unfinished.
    ledger : Ledger
    done : ndarray of bool, optional
        Regions that are finished already.
    """

    uri: str
    levels: tuple[ArrayWriter, ...]
    attributes: dict[str, Any]
    ledger: Ledger
    done: NDArray[np.bool_] | None = None


def check_destination(
    destination: str | os.PathLike[str],
    *,
    overwrite: bool,
    resume: bool,
    take_over: bool,
    storage_options: Mapping[str, Any] | None = None,
) -> str:
    """Return the output path, or refuse it."""
    if resume and overwrite:
        raise OptionError(
            "resume continues an output and overwrite replaces it; leave one of them out"
        )
    target = storage.normalise(destination, storage_options)
    if storage.is_remote(target) and not storage.in_bucket(target):
        raise OptionError(
            f"the output {target!r} is a web address, which can only be read; write to a local "
            "path, or to s3://, gs:// or az://"
        )
    _check_place(target, overwrite=overwrite, resume=resume, take_over=take_over)
    storage.check_parent(target)
    return target


def _check_place(target: str, *, overwrite: bool, resume: bool, take_over: bool) -> None:
    """Refuse a place that holds what may not be replaced or continued."""
    if not storage.exists(target):
        return
    storage.check_links(target)
    ledger.check_free(target, take_over=take_over)
    if not ((resume or overwrite) and storage.is_blank(target)):
        state = _disposable_state(target, overwrite)
        if not (overwrite or resume):
            raise DestinationError(
                f"the output {target!r} exists{state}; choose another path, or replace it with "
                "overwrite=True (--overwrite)"
                + (", or go on with resume=True (--resume)" if "not finish" in state else "")
            )


def _disposable_state(target: str, overwrite: bool) -> str:
    """Refuse what is no image, or not just one image if it is to go; say what is there."""
    if os.path.isdir(target) and not os.listdir(target):  # no object store has such
        return " (an empty directory)"
    try:
        attributes = storage.group_attributes(target)
        record = attributes.get("chunkscale")
        arrays = _arrays(attributes)
        goes = overwrite or _is_rest(record)
        foreign = storage.foreign_entries(target, arrays) if goes else []
    except ChunkscaleError as error:
        raise DestinationError(
            f"the output {target!r} exists and is not an OME-Zarr image, so it is never "
            "overwritten; choose another path or remove it yourself"
        ) from error
    if foreign:
        raise DestinationError(
            f"the output {target!r} exists and holds more than one image ({foreign[0]!r}), so it "
            "is never overwritten; choose another path or remove it yourself"
        )
    return " (the output of a run that did not finish)" if _is_unfinished(record) else ""


def _is_unfinished(record: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(record, Mapping) and record.get("state") == "unfinished"


def _arrays(attributes: Mapping[str, Any]) -> list[str]:
    """Return the paths of the levels of an image, or of an unfinished one."""
    record = attributes.get("chunkscale")
    if _is_unfinished(record):
        levels = record.get("levels")
        return [str(path) for path in levels] if isinstance(levels, list) else []
    found = ome.describe(attributes)
    return [d.path for d in found.datasets] if isinstance(found, ome.Multiscale) else []


def _is_free(target: str) -> bool:
    """Whether a run may begin here although something is stored: less than an output."""
    return storage.is_blank(target) or _is_rest(storage.group_attributes(target).get("chunkscale"))


def _is_rest(record: object) -> bool:
    """Whether a record is that of an output whose deletion was interrupted."""
    return _is_unfinished(record) and "regions" not in record


def check_apart(source: SourceArray, target: str) -> None:
    """Refuse an output in the source, and one that holds it; links are followed."""
    if not storage.same_store(source.uri, target):
        return
    output = storage.resolved(target)
    for part in (source.uri, storage.join(source.uri, source.path)):
        origin = storage.resolved(part)
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
                    f"the output {target!r} {text} {source.uri!r}; choose a path outside of it"
                )


#: Levels of other programs lie so many folders below their image, or fewer.
_DEEPEST = 4


def _check_by_content(source: SourceArray, target: str) -> None:
    """Refuse to delete what is the source, or holds it, by another name.

    Where that cannot be told, because a server refuses what it has no rule for or the disk is
    full, an output is not deleted that has the very attributes of the source.
    """
    parts = (source.uri, storage.join(source.uri, source.path))
    places = list(dict.fromkeys(
        place for part in parts for place in storage.nearest(storage.resolved(part), _DEEPEST)
    ))  # fmt: skip
    for place, same in storage.seen_through(target, places).items():
        if same or (same is None and _are_alike(place, target)):
            what = "is the source itself, or holds it," if same else "looks like the source,"
            raise DestinationError(
                f"the output {target!r} {what} reached by another name ({place!r}); choose "
                "another path"
            )


def _are_alike(one: str, other: str) -> bool:
    """Whether two groups have the same attributes, and any at all."""
    try:
        found = storage.group_attributes(one)
        return bool(found) and found == storage.group_attributes(other)
    except ChunkscaleError:
        return False  # one of them is none


def check_room(plan: ResamplePlan, target: str) -> None:
    """Refuse what no codec makes fit where it goes; what one might is warned of by the plan."""
    free = storage.free_bytes(target)
    if free is not None and plan.bytes_written > MOST_COMPRESSION * free:
        raise DestinationError(
            f"{human_bytes(plan.bytes_written)} are to be written before compression, over "
            f"{MOST_COMPRESSION} times the {human_bytes(free)} that are free where the output "
            f"{target!r} goes; choose larger voxels, or another disk"
        )


def unfinished(target: str) -> Found | None:
    """Return what can be continued at a path; None where a run would start afresh.

    Raises
    ------
    DestinationError
        If something else is there.
    """
    if not storage.exists(target) or storage.is_blank(target):
        return None
    record = storage.group_attributes(target).get("chunkscale")
    if _is_rest(record):
        return None
    if not isinstance(record, Mapping) or not all(isinstance(record.get(k), list) for k in _LAYOUT):
        raise DestinationError(
            f"the output {target!r} does not say how it was made, so it cannot be resumed; choose "
            "another path, or replace it with overwrite=True (--overwrite)"
        )
    objects = record.get("objects")
    return Found(
        recipe={name: value for name, value in record.items() if name not in _STATE},
        finished=record.get("state") == "finished",
        memory=int(record.get("memory", 0)),
        objects=dict(objects) if isinstance(objects, Mapping) else {},
    )


def recipe(plan: ResamplePlan, source: ArrayReader) -> dict[str, Any]:
    """Return all that the bytes of an output depend on, as JSON values.

    Two runs with the same recipe write the same objects, region by region.
    """
    grid, target = plan.source_grid, plan.target_grid
    return {
        "version": __version__,
        "source": plan.source.uri,
        "source_array": plan.source.path,
        "source_shape": list(plan.source.shape),
        "source_dtype": plan.source.dtype,
        "source_metadata": source.digest(),
        "source_voxel_size": list(grid.voxel_size),
        "source_translation": list(grid.translation),
        "axes": [[axis.name, axis.kind, axis.unit] for axis in target.axes],
        "shape": list(target.shape),
        "voxel_size": list(target.voxel_size),
        "translation": list(target.translation),
        "method": plan.method,
        "antialias": plan.antialias,
        "outside": "edge" if plan.outside is None else str(plan.outside),
        "ome_zarr_version": plan.ngff_version,
        "codec": plan.codec,
        "levels": [level.path for level in plan.levels],
        "chunk": [list(level.chunk) for level in plan.levels],
        "shard": [list(level.shard) if level.shard else None for level in plan.levels],
        "regions": [list(run.region_shape) for run in plan.passes],
    }


#: What a resumed run takes over, unless its caller insists.
_LAYOUT = ("chunk", "shard", "regions", "levels")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayout:
    """How an output is stored that is to be continued.

    Parameters
    ----------
    chunk : tuple of int
        Of level 0.
    shards : tuple of tuple of int or None
        By level.
    levels : int
    regions : tuple of tuple of int
        Region shape by pass.
    memory : int
        What the plan promised.
    """

    chunk: tuple[int, ...]
    shards: tuple[tuple[int, ...] | None, ...]
    levels: int
    regions: tuple[tuple[int, ...], ...]
    memory: int


def stored_layout(found: Found) -> StoredLayout:
    """Return the layout of an output that is to be continued."""
    made = found.recipe
    return StoredLayout(
        chunk=tuple(made["chunk"][0]),
        shards=tuple(tuple(shard) if shard else None for shard in made["shard"]),
        levels=len(made["levels"]),
        regions=tuple(map(tuple, made["regions"])),
        memory=found.memory,
    )


def check_same(
    target: str,
    found: Found,
    wanted: Mapping[str, Any],
    *,
    asked: Sequence[str] = _LAYOUT,
) -> None:
    """Refuse to continue an output with another recipe.

    Parameters
    ----------
    target : str
    found : Found
    wanted : mapping
        The recipe of the run that wants to.
    asked : sequence of str
        The parts of the layout that count; the others will be taken over.

    Raises
    ------
    DestinationError
        Naming everything that differs, with both values.
    """
    skipped = set(_LAYOUT) - set(asked)
    there, now = dict(found.recipe), dict(wanted)
    if "regions" in skipped:
        # Those of the other levels follow from the regions.
        for made in (there, now):
            made["chunk"], made["shard"] = made["chunk"][0], made["shard"][0]
    differences = [
        f"{name} is {there.get(name)!r} there and {now.get(name)!r} now"
        for name in {**there, **now}
        if name not in skipped and there.get(name) != now.get(name)
    ]
    if differences:
        raise DestinationError(
            f"the output {target!r} was begun differently, so it cannot be resumed: "
            f"{'; '.join(differences)}; repeat the first command, or replace it with "
            "overwrite=True (--overwrite)"
        )


@contextlib.contextmanager
def writing(
    plan: ResamplePlan,
    target: str,
    source: ArrayReader,
    found: Found | None,
    *,
    overwrite: bool,
    resume: bool,
    take_over: bool,
    io: StoreIO,
) -> Iterator[Output]:
    """Make a new output, or take the one over that was found; hold its lease.

    Parameters
    ----------
    plan : ResamplePlan
    target : str
    source : ArrayReader
    found : Found, optional
        What to continue.
    overwrite, resume, take_over : bool
        As in `check_destination`.
    io : StoreIO
        For the output.
    """
    made = recipe(plan, source)
    loser = ledger.active(target)
    replacing = False
    if found is None:
        # It may have changed since it was looked at: what has come in between is not ours.
        _check_place(target, overwrite=overwrite, resume=resume, take_over=take_over)
        if not overwrite and storage.exists(target) and not _is_free(target):
            raise storage.begun_by_another(target)
        replacing = storage.exists(target) and not storage.is_blank(target)
        storage.make_folder(target)
    else:
        check_same(target, found, made)
        storage.check_links(target, [level.path for level in plan.levels])
    try:
        lease = ledger.acquire(target, take_over=take_over)
    except OSError as error:
        if not overwrite or error.errno != errno.ENOSPC:
            raise
        _check_by_content(plan.source, target)
        _discard(target)  # makes room
        lease = ledger.acquire(target, take_over=take_over)
    with ledger.kept(target, lease):
        if loser is not None:
            ledger.wait_for_loser()
            ledger.confirm(target, lease)
        # What another run has finished before this one had the lease is not to be made again.
        if found is not None and unfinished(target) != found:
            raise storage.begun_by_another(target)
        if found is None:
            if not (overwrite or _is_free(target)):
                raise storage.begun_by_another(target)
            if replacing:
                _check_by_content(plan.source, target)
            ledger.forget(target)
            _discard(target)
            attributes = storage.start_group(
                target, zarr_format=_zarr_format(plan), attributes=_unfinished(plan, made)
            )
        levels = storage.create_levels(
            target, plan.levels, io, dtype=plan.dtype, codec=plan.codec,
            zarr_format=_zarr_format(plan), resumed=found is not None,
        )  # fmt: skip
        notes, done = ledger.Ledger(target, lease, partial(_look_at, source)), None
        if found is not None:
            done = _finished(plan, target, levels, found, notes, made)
            attributes = storage.group_attributes(target)
        yield Output(uri=target, levels=levels, attributes=attributes, ledger=notes, done=done)


def _discard(target: str) -> None:
    if storage.is_empty(target):
        return
    try:
        arrays = _arrays(storage.group_attributes(target))
    except ChunkscaleError:
        arrays = []  # a blank place
    storage.discard(target, arrays)


def _finished(
    plan: ResamplePlan, target: str, writers: Sequence[ArrayWriter], found: Found, notes: Ledger,
    made: Mapping[str, Any],
) -> NDArray[np.bool_]:  # fmt: skip
    """Return the regions that need not be made again; what is stored of the others goes."""
    if found.finished:
        stored = _intact(plan, writers, found)
        if (stored < 0).any():
            # It was no whole image, and is none until it is mended.
            storage.set_attributes(target, _unfinished(plan, made))
    else:
        stored = ledger.recorded(target, plan.region_count)
    done = ledger.finished(plan, writers, stored)
    notes.begin(stored, done)
    return done


def _intact(plan: ResamplePlan, writers: Sequence[ArrayWriter], found: Found) -> NDArray[np.int64]:
    """Return the stored bytes of the regions of a finished output; -1 for broken ones."""
    stored, counts = ledger.measured(plan, writers)
    for level, writer in enumerate(writers):
        for _, faults in read_all(writer):
            for start, _ in faults:
                stored[plan.region_of(level, start)] = -1
        if int(counts[level].sum()) != found.objects.get(plan.levels[level].path):
            # Some are missing. All-fill regions have none either; they are made again as well.
            run = next(p for p in plan.passes if level <= p.last)
            for index in run.indices:
                box = dict(plan.region(index).boxes)[level]
                if counts[level][index] < writer.object_count(box):
                    stored[index] = -1
    return stored


def _look_at(source: ArrayReader) -> None:
    """Refuse to trust what was read from a source that is not there any more.

    Of an array without its files every chunk reads as one that was left out: as fill value.

    Raises
    ------
    RegionError
        If it is gone, or another one.
    OSError
        If its store does not tell.
    """
    _refuse(source.uri, source.fate())


def _refuse(uri: str, fate: str) -> None:
    if fate:
        raise RegionError(
            f"the source {uri!r} {fate} since this run began; the output stays unfinished, and "
            "what was read last is not kept. Put the source back and go on with resume=True "
            "(--resume), or replace the output with overwrite=True (--overwrite)"
        )


def _check_source(plan: ResamplePlan, source: ArrayReader, attributes: Mapping[str, Any]) -> None:
    """Look at the whole source once more; ask again, with growing waits, a store that fails."""

    def is_there() -> bool:
        return _geometry(storage.group_attributes(plan.source.uri)) == _geometry(attributes)

    waits = iter(LOOK_WAITS)
    while True:
        try:
            _look_at(source)
            _refuse(plan.source.uri, storage.fate(plan.source.uri, is_there))
        except OSError as error:
            wait = next(waits, None)
            if wait is None:
                raise RegionError(
                    f"whether the source {source.uri!r} is still what it was cannot be told "
                    f"({error}), so the output stays unfinished; once it can be read, go on with "
                    "resume=True (--resume)"
                ) from error
            time.sleep(wait)
        else:
            return


def _geometry(attributes: Mapping[str, Any]) -> str:
    """Return what the metadata of an image say of its level 0."""
    found = ome.describe(attributes)
    # As a text, because a number may be NaN.
    return repr((found.axes, found.datasets[:1]) if isinstance(found, ome.Multiscale) else found)


def _check_objects(plan: ResamplePlan, output: Output) -> None:
    """Refuse an output of which something is missing, or was changed, since it was stored."""
    noted = output.ledger.noted(plan.region_count)
    there, _ = ledger.measured(plan, output.levels)
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
        f"wrote them, so it stays unfinished: region {shown}{more}. Find out what deletes there "
        "(a cleaner of old files?), and go on with resume=True (--resume), which makes them again"
    )


def publish(
    plan: ResamplePlan, output: Output, source: ArrayReader, attributes: Mapping[str, Any]
) -> int:
    """Make a finished output an image; return the stored bytes of its levels.

    Parameters
    ----------
    plan : ResamplePlan
    output : Output
    source : ArrayReader
    attributes : mapping
        Of the source's group.

    Raises
    ------
    RegionError
        If another run has replaced the output or taken it over, or if the
        source is not what it was when the run began, or if objects of the
        output are not there any more.
    """
    target, names = output.uri, [level.path for level in plan.levels]
    if output.attributes["chunkscale"]["state"] == "finished":
        return storage.tidy(target, names)[2]  # it was whole
    published = _image_attributes(plan, attributes)
    output.ledger.check()
    _check_source(plan, source, attributes)
    counts, stored, nbytes = storage.tidy(target, names)
    if stored != output.ledger.stored:
        _check_objects(plan, output)
    record = {name: value for name, value in output.attributes["chunkscale"].items()
              if name not in _STATE}  # fmt: skip
    # Last of all: from here on a reader takes the group for an image.
    finished = {**published, "chunkscale": {**record, "objects": counts, "state": "finished"}}
    if not storage.set_attributes(target, finished, instead_of=output.attributes):
        raise RegionError(
            f"the output {target!r} was replaced by another run while this one wrote it; "
            "run one of them again"
        )
    return nbytes


def _zarr_format(plan: ResamplePlan) -> Literal[2, 3]:
    return 2 if plan.ngff_version == "0.4" else 3


#: What the record of an output says beside its recipe.
_STATE = ("state", "run", "memory", "objects")


def _unfinished(plan: ResamplePlan, made: Mapping[str, Any]) -> dict[str, Any]:
    state = {"run": uuid.uuid4().hex, "memory": plan.memory.total, "state": "unfinished"}
    return {"chunkscale": {**made, **state}}


def _image_attributes(plan: ResamplePlan, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that make a finished group an image."""
    levels = [
        ome.Dataset(
            path=level.path,
            voxel_size=level.grid.voxel_size,
            translation=level.grid.translation,
        )
        for level in plan.levels
    ]
    described = ome.describe(source)
    named = described.name if isinstance(described, ome.Multiscale) else None
    name = named or plan.source.uri.rstrip("/").rsplit("/", 1)[-1]
    kind = "mode" if plan.method == "nearest" else "mean"
    composed = storage.compose_multiscales(
        version=plan.ngff_version,
        name=name,
        axes=ome.axis_entries(plan.target_grid.axes),
        datasets=ome.dataset_entries(levels),
    )
    return ome.complete_attributes(
        composed,
        name=name,
        kind=kind,
        metadata=ome.downscaling_metadata(
            f"chunkscale.resample ({kind})",
            version=__version__,
            parameters={"method": plan.method, "antialias": plan.antialias},
        ),
        source=source,
        is_label=plan.source.is_label,
    )
