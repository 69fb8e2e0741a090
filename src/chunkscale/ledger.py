"""The ledger of a run: who writes an output, and which of its regions are finished.

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
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale import storage
from chunkscale.errors import ChunkscaleWarning, DestinationError, RegionError
from chunkscale.memory import identity, lives
from chunkscale.plan import ResamplePlan
from chunkscale.region import Record
from chunkscale.storage import ArrayWriter

__all__ = [
    "Lease",
    "Ledger",
    "acquire",
    "active",
    "check_free",
    "confirm",
    "delete",
    "finished",
    "forget",
    "kept",
    "measured",
    "recorded",
    "wait_for_loser",
]

#: Seconds for which a lease holds unless it is renewed.
LEASE_SECONDS = 120.0
#: Seconds between two looks at whether the lease still holds.
CHECK_SECONDS = 1.0
#: Seconds between two flushes: a hundredth of the time gone by, within these bounds.
FLUSH_SECONDS = (1.0, 60.0)
#: Regions in one of the notes that a resumed run begins with, and objects looked at together.
MOST_AT_ONCE = 100_000
_LEASE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write an output.

    Parameters
    ----------
    run : str
        Names the run.
    host, pid, started
        Of the process that has it.
    renewed : float
        Seconds since the epoch.
    duration : float
        Seconds.
    """

    run: str
    host: str
    pid: int
    started: float
    renewed: float
    duration: float

    def left(self, now: float) -> float:
        """Return for how many seconds it still holds; a dead process of this host has none."""
        host, _, _ = identity()
        if host == self.host and not lives(self.pid, self.started):
            return 0.0
        return max(0.0, self.renewed + self.duration - now)

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.renewed))
        return f"process {self.pid} on {self.host.split('/')[0]}, which said so at {at}"


def holder(uri: str) -> Lease | None:
    """Return the lease on an output, in force or not."""
    text = storage.read_note(uri, _LEASE)
    try:
        if text is None:
            return None
        found = Lease(**json.loads(text))
        return replace(
            found, pid=int(found.pid), started=float(found.started), renewed=float(found.renewed),
            duration=float(found.duration),
        )  # fmt: skip
    except (ValueError, TypeError):
        return None  # of another version, or damaged; what it allows is decided by others


def active(uri: str) -> Lease | None:
    """Return the lease on an output that is in force."""
    lease = holder(uri)
    return lease if lease is not None and lease.left(time.time()) else None


def check_free(uri: str, *, take_over: bool) -> None:
    """Refuse an output that another run is writing.

    Raises
    ------
    DestinationError
        Naming the process that writes.
    """
    lease = active(uri)
    if lease is not None and not take_over:
        left = lease.left(time.time())
        raise DestinationError(
            f"the output {uri!r} is being written by {lease}; wait for it, or, if it is dead, for "
            f"{left:.0f} s, or pass take_over (--take-over)"
        )


def acquire(uri: str, *, take_over: bool = False) -> Lease:
    """Take the lease on an output whose place exists.

    Raises
    ------
    DestinationError
        If another run has it.
    """
    check_free(uri, take_over=take_over)
    stale = storage.read_note(uri, _LEASE)
    host, pid, started = identity()
    lease = Lease(
        run=uuid.uuid4().hex, host=host, pid=pid, started=started, renewed=time.time(),
        duration=LEASE_SECONDS,
    )  # fmt: skip
    try:
        if stale is not None:
            storage.withdraw_note(uri, _LEASE, stale)
        _put(uri, lease, new=True)
    except FileExistsError:
        raise storage.begun_by_another(uri) from None
    return lease


def wait_for_loser() -> None:
    """Wait until the run that the lease was taken from has noticed."""
    time.sleep(2 * CHECK_SECONDS)


def confirm(uri: str, lease: Lease) -> None:
    """Refuse to begin with a lease that has gone to another run."""
    if not _is_ours(uri, lease):
        raise storage.begun_by_another(uri)


def _put(uri: str, lease: Lease, *, new: bool = False) -> None:
    storage.put_note(uri, _LEASE, json.dumps(asdict(lease)), new=new)


@contextlib.contextmanager
def kept(uri: str, lease: Lease) -> Iterator[None]:
    """Renew a lease as long as the context lasts, however long a region takes.

    The whole ledger goes with it, unless an exception passes: then the lease is
    given back, so that nobody has to wait until it runs out.
    """
    end = threading.Event()

    def renew() -> None:
        while not end.wait(lease.duration / 6):
            # A store that fails may answer the next time; the driver finds out what it must.
            with contextlib.suppress(OSError):
                if _is_ours(uri, lease):
                    _put(uri, replace(lease, renewed=time.time()))

    thread = threading.Thread(target=renew, name="chunkscale-lease", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        end.set()
        thread.join()
        with contextlib.suppress(OSError):
            if _is_ours(uri, lease):
                storage.delete_note(uri, _LEASE)  # works on a full disk, too
        raise
    end.set()
    thread.join()
    if _is_ours(uri, lease):
        delete(uri)


def _is_ours(uri: str, lease: Lease) -> bool:
    found = holder(uri)
    return found is not None and found.run == lease.run


def delete(uri: str) -> None:
    """Delete the ledger; the lease last, for as long as it is there the rest is known."""
    names = storage.note_names(uri)
    for name in sorted(names, key=lambda name: name == _LEASE):
        storage.delete_note(uri, name)


def forget(uri: str) -> None:
    """Delete what earlier runs have noted down, but not the lease."""
    for name in storage.note_names(uri):
        if name.startswith("done-"):
            storage.delete_note(uri, name)


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
    stored : int
        Bytes that all finished regions have stored, those of earlier runs as well.
    """

    def __init__(
        self,
        uri: str,
        lease: Lease,
        look: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uri = uri
        self.lease = lease
        self.stored = 0
        self._look = look
        self._closed = False
        self._clock = clock
        self._begun = self._flushed = self._checked = clock()
        self._pending: dict[int, int] = {}
        self._serial = itertools.count()
        self._warned = False

    def add(self, record: Record) -> None:
        """Note a finished region down with the next flush."""
        self.stored += record.stored
        self._pending[record.index] = record.stored

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
        elif now - self._checked >= CHECK_SECONDS:
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
                self._look()
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
                    f"the ledger of {self.uri!r} cannot be kept ({error}); if this run is "
                    "interrupted, what it finishes from now on is made again",
                    ChunkscaleWarning,
                    stacklevel=2,
                )

    def begin(self, stored: NDArray[np.int64], done: NDArray[np.bool_]) -> None:
        """Replace the notes of earlier runs by what was found to be finished."""
        earlier = [name for name in storage.note_names(self.uri) if name != _LEASE]
        self.stored = int(stored[done].sum())
        indices = np.flatnonzero(done)
        for start in range(0, len(indices), MOST_AT_ONCE):
            part = indices[start : start + MOST_AT_ONCE].tolist()
            self.note({index: int(stored[index]) for index in part})
        for name in earlier:
            storage.delete_note(self.uri, name)

    def note(self, regions: dict[int, int]) -> None:
        """Store regions and their bytes."""
        ordered = sorted(regions)
        content = {
            "regions": list(_runs(ordered)),
            "bytes": [regions[index] for index in ordered],
        }
        # Another run's notes are never replaced.
        name = f"done-{self.lease.run[:12]}-{next(self._serial):06d}.json"
        storage.put_note(self.uri, name, json.dumps(content))

    def noted(self, regions: int) -> NDArray[np.int64]:
        """Return the bytes that each region has stored; -1 for those that nothing is known of."""
        stored = recorded(self.uri, regions)
        for index, size in self._pending.items():
            stored[index] = size
        return stored

    def check(self) -> None:
        """Raise if another run has taken the output."""
        self._checked = self._clock()
        found = holder(self.uri)
        if found is None or found.run != self.lease.run:
            by = f" by {found}" if found else ""
            raise RegionError(
                f"the output {self.uri!r} was taken over{by} while this run wrote it; this one "
                "has stopped"
            )


def recorded(uri: str, regions: int) -> NDArray[np.int64]:
    """Return the bytes that each region is said to have stored; -1 for unfinished ones."""
    stored = np.full(regions, -1, np.int64)
    for name in storage.note_names(uri):
        text = storage.read_note(uri, name) if name.startswith("done-") else None
        for index, size in _entries(text):
            if 0 <= index < regions:
                stored[index] = size
    return stored


def _entries(text: str | None) -> Iterator[tuple[int, int]]:
    try:
        content: Any = json.loads(text or "{}")
        ranges = [range(int(a), int(b)) for a, b in content.get("regions", [])]
        sizes = [int(size) for size in content.get("bytes", [])]
    except (ValueError, TypeError, AttributeError):
        return  # damaged: its regions are made again
    if sum(map(len, ranges)) == len(sizes):
        yield from zip(itertools.chain(*ranges), sizes, strict=True)


def finished(
    plan: ResamplePlan, target: Sequence[ArrayWriter], stored: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which regions need not be made again; delete what is stored of the others.

    Parameters
    ----------
    plan : ResamplePlan
    target : sequence of ArrayWriter
        The levels of the output.
    stored : ndarray
        Bytes by region as recorded; -1 for regions that are to be made.

    Returns
    -------
    ndarray of bool
        By region.
    """
    found = np.zeros(len(stored), np.int64)
    broken = np.zeros(len(stored), np.bool_)
    recorded = stored >= 0
    for region, size in _swept(plan, target, recorded):
        found[region] += size
        broken[region] |= size == 0
    done: NDArray[np.bool_] = recorded & (stored == found) & ~broken
    lost = np.flatnonzero(recorded & ~done)
    if lost.size:
        # Later passes may have read what was lost after that, as fill value.
        done[plan.pass_of(int(lost[0])).indices.stop :] = False
    if (done != recorded).any():
        for _ in _swept(plan, target, done):
            pass
    return done


def _swept(
    plan: ResamplePlan, target: Sequence[ArrayWriter], kept: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Yield region and size of the stored objects of regions to be kept; delete the others."""
    for level, group in itertools.groupby(_objects(plan, target), key=lambda found: found[0]):
        while part := list(itertools.islice(group, MOST_AT_ONCE)):
            yield from ((region, size) for _, region, size, _ in part if kept[region])
            target[level].delete_objects(index for _, region, _, index in part if not kept[region])


def measured(
    plan: ResamplePlan, target: Sequence[ArrayWriter]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stored bytes of every region, and its objects by (level, region)."""
    stored = np.zeros(plan.region_count, np.int64)
    counts = np.zeros((len(target), plan.region_count), np.int64)
    for level, region, size, _ in _objects(plan, target):
        stored[region] += size
        counts[level, region] += 1
    return stored, counts


def _objects(
    plan: ResamplePlan, target: Sequence[ArrayWriter]
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Yield level, region, size and position of every stored object of an output."""
    for level, writer in enumerate(target):
        for index, size in writer.objects():
            start = [i * u for i, u in zip(index, writer.unit, strict=True)]
            if all(a < n for a, n in zip(start, writer.shape, strict=True)):
                yield level, plan.region_of(level, start), size, index
