"""Decoded blocks that are kept for the next read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.block: NDArray[Any] | None = None


class BlockCache:
    """The blocks that were used last, up to so many bytes. Thread-safe.

    What several threads want is made by one of them, while the others wait.

    Attributes
    ----------
    room : int
        So many bytes.

    Examples
    --------
    >>> import numpy as np
    >>> cache = BlockCache(16)
    >>> for key in (1, 2, 2, 3, 1):  # a third block of eight bytes takes the place of the first
    ...     _ = cache.get(key, lambda: print("made", key) or np.zeros(8, "u1"))
    made 1
    made 2
    made 3
    made 1
    """

    def __init__(self, nbytes: int) -> None:
        self.room = nbytes
        self._held = 0
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return a block; one that is not held is made."""
        entry = self._entry(key)
        with entry.lock:
            block = entry.block
            if block is None:
                try:
                    block = make()
                except BaseException:
                    self._drop(key, entry)
                    raise
                self._keep(key, entry, block)
        return block

    def get_all(
        self,
        keys: Iterable[K],
        make: Callable[[Sequence[K]], Iterator[tuple[K, NDArray[Any]]]],
    ) -> Iterator[tuple[K, NDArray[Any]]]:
        """Yield blocks with their keys; those that are not held are made together.

        Parameters
        ----------
        keys : iterable of hashable
        make : callable
            Yields the blocks of the keys that it is called with.
        """
        found: dict[K, NDArray[Any]] = {}
        mine: dict[K, _Entry] = {}  # locked until they are made, so nobody is waited for before
        others = []
        for key in keys:
            entry = self._entry(key)
            if not entry.lock.acquire(blocking=False):
                others.append(key)
            elif entry.block is None:
                mine[key] = entry
            else:
                found[key] = entry.block
                entry.lock.release()
        try:
            yield from found.items()
            for key, block in make(list(mine)) if mine else ():
                self._keep(key, mine[key], block)
                mine.pop(key).lock.release()
                yield key, block
        finally:
            for key, entry in mine.items():
                self._drop(key, entry)
                entry.lock.release()
        for key in others:
            yield key, self.get(key, lambda: next(make([key]))[1])  # noqa: B023  (called here)

    def _entry(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry  # the last one used is the last one dropped
        return entry

    def _drop(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is entry:  # not what another has put in its place
                del self._entries[key]

    def _keep(self, key: Hashable, entry: _Entry, block: NDArray[Any]) -> None:
        with self._lock:
            entry.block = block
            if self._entries.get(key) is not entry:  # dropped while it was made
                return
            self._held += block.nbytes
            while self._held > self.room:
                held = ((k, old.block) for k, old in self._entries.items() if old.block is not None)
                oldest, dropped = next(held)  # those that are being made are few
                del self._entries[oldest]
                self._held -= dropped.nbytes
