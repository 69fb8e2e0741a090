"""The ledger of a run: which regions of an output are finished.

It lies below the output as a few small objects, and is deleted when the
output is published. ``run.json`` is the lease of the run that writes;
``done-*.json`` are the regions finished since the one before, with the bytes
that each has stored: a file that exists proves nothing (a killed process may
leave a part of it), and an all-fill region leaves none.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import ChunkscaleWarning, DestinationError, RegionError
from chunkscale.output import leases
from chunkscale.output.notes import (
    delete_note,
    note_names,
    notes_place,
    put_note,
    read_note,
)
from chunkscale.output.sweep import MOST_AT_ONCE

#: Seconds between two flushes: a hundredth of the time gone by, within these bounds.
FLUSH_SECONDS = (1.0, 60.0)


def forget(uri: str) -> None:
    """Delete what earlier runs have noted down, but not the lease."""
    for name in note_names(uri):
        if name.startswith("done-"):
            delete_note(uri, name)


def _runs(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the runs of ascending numbers.

    Examples
    --------
    >>> list(_runs([1, 2, 3, 7, 9, 10]))
    [(1, 4), (7, 8), (9, 11)]
    """
    for _, group in itertools.groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        members = [index for _, index in group]
        yield members[0], members[-1] + 1


class Ledger:
    """Notes down finished regions every few seconds, as long as its lease holds.

    Parameters
    ----------
    uri : str
        The output.
    lease : Lease
    look : callable
        Called before regions are noted down, as they are right only if what they were made from
        was still there afterwards. Raises a `RegionError` if it is not, which stops the run, and
        an `OSError` if that cannot be told now.
    clock : callable
        Seconds that only go forward.

    Attributes
    ----------
    guard : Guard
        What looks after the lease.
    stored : int
        Bytes that all finished regions have stored, those of earlier runs as well.
    """

    def __init__(
        self,
        uri: str,
        lease: leases.Lease,
        look: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uri = uri
        self.lease = lease
        self.guard = leases.Guard(uri, lease.run)
        self.stored = 0
        self._look = look
        self._closed = False
        self._clock = clock
        self._begun = self._flushed = self._checked = clock()
        self._pending: dict[int, int] = {}
        self._serial = itertools.count()
        self._warned = False

    def add(self, index: int, stored: int) -> None:
        """Note a finished region down with the next flush."""
        self.stored += stored
        self._pending[index] = stored

    def tick(self) -> None:
        """Look after the lease, and flush, if it is time to.

        Raises
        ------
        RegionError
            If another run has taken the output, or the source is not what it was.
        """
        now = self._clock()
        low, high = FLUSH_SECONDS
        if now - self._flushed >= min(max(low, (now - self._begun) / 100), high):
            self.flush()
        elif now - self._checked >= leases.CHECK_SECONDS:
            with contextlib.suppress(OSError):  # it may answer the next time
                self.check()

    def flush(self) -> None:
        """Store what is not stored yet.

        A store that fails costs nothing but time: the regions stay pending,
        and those that are never noted down are made again.
        """
        self._flushed = self._clock()
        if self._closed:
            return
        try:
            self.check()
            if self._pending:
                self._look()  # which may take a while
                self.check()
                self.note(self._pending)
                self._pending = {}
        except RegionError:
            # A source that comes back does not make right what was read while it was away.
            self._closed = True
            raise
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"the log of {self.uri!r} cannot be written ({error}); if this run is "
                    "interrupted, regions finished from now on are made again",
                    ChunkscaleWarning,
                    stacklevel=2,
                )

    def begin(self, stored: NDArray[np.int64], done: NDArray[np.bool_]) -> None:
        """Replace the notes of earlier runs by what was found to be finished."""
        earlier = [name for name in note_names(self.uri) if name != leases.LEASE_NOTE]
        self.stored = int(stored[done].sum())
        indices = np.flatnonzero(done)
        for start in range(0, len(indices), MOST_AT_ONCE):
            part = indices[start : start + MOST_AT_ONCE].tolist()
            self.note({index: int(stored[index]) for index in part})
        for name in earlier:
            delete_note(self.uri, name)

    def note(self, regions: dict[int, int]) -> None:
        """Store regions and their bytes."""
        ordered = sorted(regions)
        content = {
            "regions": list(_runs(ordered)),
            "bytes": [regions[index] for index in ordered],
        }
        # Another run's notes are never replaced.
        name = f"done-{self.lease.run[:12]}-{next(self._serial):06d}.json"
        put_note(self.uri, name, json.dumps(content))

    def noted(self, regions: int) -> NDArray[np.int64]:
        """Return the bytes that each region has stored; -1 for those that nothing is known of."""
        stored = recorded(self.uri, regions)
        for index, size in self._pending.items():
            stored[index] = size
        return stored

    def check(self) -> None:
        """Raise if another run has taken the output."""
        self._checked = self._clock()
        try:
            notes_place(self.uri)
        except DestinationError as error:
            raise RegionError(str(error)) from error
        self.guard.look()


def recorded(uri: str, regions: int) -> NDArray[np.int64]:
    """Return the bytes that each region is said to have stored; -1 for unfinished ones."""
    stored = np.full(regions, -1, np.int64)
    for name in note_names(uri):
        text = read_note(uri, name) if name.startswith("done-") else None
        for index, size in _entries(text):
            if 0 <= index < regions:
                stored[index] = size
    return stored


def _entries(text: str | None) -> Iterator[tuple[int, int]]:
    try:
        content: Any = json.loads(text or "{}")
        ranges = [range(a, b) for a, b in content.get("regions", [])]
        sizes = content.get("bytes", [])
        is_sound = all(type(size) is int and 0 <= size < 2**63 for size in sizes)
        if not is_sound or sum(map(len, ranges)) != len(sizes):
            return
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return  # damaged: its regions are made again
    yield from zip(itertools.chain(*ranges), sizes, strict=True)
