"""The right to write an output: one run has it at a time."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from chunkscale.errors import DestinationError, RegionError
from chunkscale.host.identity import identity, lives
from chunkscale.output.notes import delete_note, note_names, put_note, read_note, withdraw_note
from chunkscale.output.places import begun_by_another
from chunkscale.storage.stores import clear_write_errors

#: Seconds for which a lease holds unless it is renewed.
LEASE_SECONDS = 120.0

#: Seconds between two looks at whether the lease still holds.
CHECK_SECONDS = 1.0

LEASE_NOTE = "run.json"

#: Whatever a run puts among its notes, and what is left of it when it is killed.
_OURS = re.compile(
    r"(?:run\.json|done-.*\.json|packed|(?:documents|packed)\.zip)(?:\.[0-9a-f]{32}\.partial)*"
)


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
        """Return for how many seconds it still holds.

        A process of this host has it as long as it lives, be it stopped or asleep: it would go on
        where it was. A dead one has none.
        """
        host, _, _ = identity()
        if host != self.host:
            return max(0.0, self.renewed + self.duration - now)
        return math.inf if lives(self.pid, self.started) else 0.0

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.renewed))
        return f"process {self.pid} on {self.host.split('/')[0]}, last seen at {at}"


def holder(uri: str) -> Lease | None:
    """Return the lease on an output, in force or not."""
    text = read_note(uri, LEASE_NOTE)
    try:
        found = Lease(**json.loads(text or ""))
    except (ValueError, TypeError, RecursionError):
        return None  # of another version, or damaged; what it allows is decided by others
    numbers = (found.started, found.renewed, found.duration)
    is_sound = isinstance(found.run, str) and isinstance(found.host, str)
    is_sound &= type(found.pid) is int and 0 < found.pid < _LATEST
    is_sound &= all(type(n) in (int, float) and 0 <= n < _LATEST for n in numbers)
    return found if is_sound else None


#: No number of a lease is as large: a time in seconds would be far beyond the year 9999.
_LATEST = 2**31


def active(uri: str) -> Lease | None:
    """Return the lease on an output that is in force."""
    lease = holder(uri)
    return lease if lease is not None and lease.left(time.time()) else None


def is_left(uri: str) -> bool:
    """Whether a run has not given its lease back: it was killed, or its machine has lost power."""
    return read_note(uri, LEASE_NOTE) is not None


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
        remedy = "end it" if math.isinf(left) else f"if it has crashed, wait {left:.0f} s"
        raise DestinationError(
            f"the output {uri!r} is being written by {lease}; wait for it, or {remedy}, or "
            "proceed anyway with take_over=True (--take-over)"
        )


def acquire(uri: str, *, take_over: bool = False) -> Lease:
    """Take the lease on an output whose place exists.

    Raises
    ------
    DestinationError
        If another run has it.
    """
    check_free(uri, take_over=take_over)
    stale = read_note(uri, LEASE_NOTE)
    host, pid, started = identity()
    lease = Lease(
        run=uuid.uuid4().hex,
        host=host,
        pid=pid,
        started=started,
        renewed=time.time(),
        duration=LEASE_SECONDS,
    )
    try:
        if stale is not None:
            withdraw_note(uri, LEASE_NOTE, stale)
        _put(uri, lease, new=True)
    except FileExistsError:
        raise begun_by_another(uri) from None
    except OSError:
        with clear_write_errors(uri):
            raise
    return lease


@dataclass(slots=True)
class Guard:
    """Looks, before something is written, whether the right to write is still there.

    Picklable: workers of a cluster look for themselves.

    Parameters
    ----------
    uri : str
    run : str
        That of the lease.
    """

    uri: str
    run: str
    _looked: float = 0.0

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.uri, self.run)

    def __call__(self) -> None:
        """Look, if that was not done within the last second.

        The time of day goes on while a process is stopped, and a machine asleep.

        Raises
        ------
        RegionError
            If another run has taken the output.
        """
        if abs(time.time() - self._looked) >= CHECK_SECONDS:
            self.look()

    def look(self) -> None:
        """Look now; see `__call__`."""
        found = holder(self.uri)
        if found is None or found.run != self.run:
            by = f" by {found}" if found else ""
            raise RegionError(
                f"the output {self.uri!r} was taken over{by} while this run was writing it; this "
                "one has stopped"
            )
        self._looked = time.time()


def wait_for_loser() -> None:
    """Wait until the run that the lease was taken from has noticed."""
    time.sleep(2 * CHECK_SECONDS)


def confirm(uri: str, lease: Lease) -> None:
    """Refuse to begin with a lease that has gone to another run."""
    if not _is_ours(uri, lease):
        raise begun_by_another(uri)


def _put(uri: str, lease: Lease, *, new: bool = False) -> None:
    put_note(uri, LEASE_NOTE, json.dumps(asdict(lease)), new=new)


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
                delete_note(uri, LEASE_NOTE)  # works on a full disk, too
        raise
    end.set()
    thread.join()
    if _is_ours(uri, lease):
        delete(uri)


def _is_ours(uri: str, lease: Lease) -> bool:
    found = holder(uri)
    return found is not None and found.run == lease.run


def delete(uri: str) -> None:
    """Delete the ledger; the lease last, for as long as it is there the rest is known.

    What else has been put there stays.
    """
    names = filter(_OURS.fullmatch, note_names(uri))
    for name in sorted(names, key=lambda name: name == LEASE_NOTE):
        delete_note(uri, name)
