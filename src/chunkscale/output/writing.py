"""Begin an output, or continue one, and hold its lease."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import ChunkscaleError
from chunkscale.output import leases
from chunkscale.output.destination import (
    check_by_content,
    check_place,
    is_free,
    unfinished,
)
from chunkscale.output.labels import own_arrays
from chunkscale.output.ledger import Ledger, forget, recorded
from chunkscale.output.places import (
    begun_by_another,
    check_links,
    discard,
    is_blank,
    is_empty,
    make_folder,
    refuse_wrong_kinds,
)
from chunkscale.output.record import (
    Found,
    check_same,
    level_paths,
    recipe,
    unfinished_attributes,
    zarr_format_of,
)
from chunkscale.output.sweep import finished_regions, measured, undecodable
from chunkscale.output.watch import look_at
from chunkscale.parameters import Existing
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Source
from chunkscale.storage import objects as contents
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.groups import group_attributes, put_group, set_attributes
from chunkscale.storage.writer import ArrayWriter, create_levels


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


@contextlib.contextmanager
def writing(
    plan: ResamplePlan,
    target: str,
    source: Source,
    found: Found | None,
    existing: Existing,
    io: StoreIO,
) -> Iterator[Output]:
    """Make a new output, or take the one over that was found; hold its lease.

    What is finished is noted down at the end if an exception passes.

    Parameters
    ----------
    plan : ResamplePlan
    target : str
    source : Source
    found : Found, optional
        What to continue.
    existing : Existing
    io : StoreIO
        For the output.
    """
    made = recipe(plan, source)
    loser, unclean = leases.active(target), leases.is_left(target)
    replacing = False
    if found is None:
        # It may have changed since it was looked at: what has come in between is not ours.
        check_place(target, existing)
        if not existing.overwrite and contents.exists(target) and not is_free(target):
            raise begun_by_another(target)
        replacing = contents.exists(target) and not is_blank(target)
        make_folder(target)
    else:
        check_same(target, found, made)
        check_links(target, [level.path for level in plan.levels])
        axes = plan.target_grid.ndim
        refuse_wrong_kinds(target, dict.fromkeys((level.path for level in plan.levels), axes))
    try:
        lease = leases.acquire(target, take_over=existing.take_over)
    except OSError as error:
        if not existing.overwrite or error.errno != errno.ENOSPC:
            raise
        check_by_content(plan.source, target)
        _discard(target)  # makes room
        lease = leases.acquire(target, take_over=existing.take_over)
    with leases.kept(target, lease):
        if loser is not None:
            leases.wait_for_loser()
            leases.confirm(target, lease)
        # What another run has finished before this one had the lease is not to be made again.
        if found is not None and unfinished(target) != found:
            raise begun_by_another(target)
        if found is None:
            if not (existing.overwrite or is_free(target)):
                raise begun_by_another(target)
            if replacing:
                check_by_content(plan.source, target)
            leases.confirm(target, lease)
            forget(target)
            _discard(target)
            attributes = unfinished_attributes(plan, made)
            try:
                put_group(target, zarr_format=zarr_format_of(plan), attributes=attributes, new=True)
            except FileExistsError:
                raise begun_by_another(target) from None
        levels = create_levels(
            target,
            plan.levels,
            io,
            dtype=plan.dtype,
            codec=plan.codec,
            checksum=plan.checksum,
            zarr_format=zarr_format_of(plan),
            resumed=found is not None,
        )
        notes, done = Ledger(target, lease, partial(look_at, source)), None
        if found is not None:
            done = _finished(plan, target, levels, found, notes, made, unclean=unclean)
            attributes = group_attributes(target)
        try:
            yield Output(uri=target, levels=levels, attributes=attributes, ledger=notes, done=done)
        except BaseException:
            notes.flush()  # what is published needs no notes
            raise


def _discard(target: str) -> None:
    if is_empty(target):
        return
    try:
        attributes = group_attributes(target)
        arrays = [*level_paths(attributes), *own_arrays(target, attributes)]
    except ChunkscaleError:
        arrays = []  # a blank place
    discard(target, arrays)


def _finished(
    plan: ResamplePlan,
    target: str,
    writers: Sequence[ArrayWriter],
    found: Found,
    notes: Ledger,
    made: Mapping[str, Any],
    *,
    unclean: bool,
) -> NDArray[np.bool_]:
    """Return the regions that need not be made again; what is stored of the others goes."""
    if found.finished:
        stored = _intact(plan, writers, found)
        if (stored < 0).any():
            # It was no whole image, and is none until it is mended.
            set_attributes(target, unfinished_attributes(plan, made))
    else:
        stored = recorded(target, plan.region_count)
    notes.check()
    done = finished_regions(plan, writers, stored)
    if not found.finished:
        broken = list(undecodable(plan, writers, done, whole=unclean))
        if broken:
            stored[broken] = -1
            done = finished_regions(plan, writers, stored)
    notes.begin(stored, done)
    return done


def _intact(plan: ResamplePlan, writers: Sequence[ArrayWriter], found: Found) -> NDArray[np.int64]:
    """Return the stored bytes of the regions of a finished output; -1 for broken ones."""
    stored, counts = measured(plan, writers)
    stored[list(undecodable(plan, writers, stored >= 0, whole=True))] = -1
    for level, writer in enumerate(writers):
        if int(counts[level].sum()) != found.objects.get(plan.levels[level].path):
            # Some are missing. All-fill regions have none either; they are made again as well.
            run = next(p for p in plan.passes if level <= p.last)
            for index in run.indices:
                box = dict(plan.region(index).boxes)[level]
                if counts[level][index] < writer.object_count(box):
                    stored[index] = -1
    return stored
