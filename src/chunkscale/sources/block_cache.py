"""Decoded blocks that are kept for the next read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.block: NDArray[Any] | None = None


class BlockCache:
    """The blocks that were used last, up to so many bytes. Thread-safe.

    What several threads want is made by one of them, while the others wait.

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
        self._most = nbytes
        self._held = 0
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return a block; one that is not held is made."""
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry  # the last one used is the last one dropped
        with entry.lock:
            block = entry.block
            if block is None:
                try:
                    block = make()
                except BaseException:
                    with self._lock:
                        self._entries.pop(key, None)
                    raise
                self._keep(key, entry, block)
        return block

    def _keep(self, key: Hashable, entry: _Entry, block: NDArray[Any]) -> None:
        with self._lock:
            entry.block = block
            if self._entries.get(key) is not entry:  # dropped while it was made
                return
            self._held += block.nbytes
            while self._held > self._most:
                held = ((k, old.block) for k, old in self._entries.items() if old.block is not None)
                oldest, dropped = next(held)  # those that are being made are few
                del self._entries[oldest]
                self._held -= dropped.nbytes
