"""What a run on a cluster waits for when no worker takes its regions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from chunkscale.errors import ChunkscaleWarning

#: After this long without a region that came back it is asked why, and then ever more rarely:
#: a large cluster takes time to answer.
FIRST_SECONDS = 4.0


class Waiting:
    """Says once what is waited for, until regions come back again.

    Parameters
    ----------
    reason : callable
        Returns why no worker can take a region; nothing if one can.
    """

    def __init__(self, reason: Callable[[], str]) -> None:
        self._reason = reason
        self.ends()

    def ends(self) -> None:
        """Regions came back."""
        self._pause, self._said = FIRST_SECONDS, False
        self._next = time.monotonic() + self._pause

    def goes_on(self) -> None:
        """Nothing came back: warn if it is time to, and no worker can take a region."""
        if self._said or time.monotonic() < self._next:
            return
        if text := self._reason():
            self._said = True
            warnings.warn(text, ChunkscaleWarning, stacklevel=2)
        self._pause *= 2
        self._next = time.monotonic() + self._pause


def lacking(
    address: str, workers: Mapping[str, Mapping[str, Any]], asked: Mapping[str, float] | None
) -> str:
    """Return what the workers of a scheduler lack to take a region; nothing if one could.

    Parameters
    ----------
    address : str
        Of the scheduler.
    workers : mapping
        What it knows of each worker.
    asked : mapping of str to float, optional
        Dask resources that a region takes.
    """
    if not workers:
        return (
            f"the scheduler {address} has no workers; the run waits for one. Start one with: "
            f"dask worker {address}"
        )
    offers = [worker.get("resources", {}) for worker in workers.values()]
    wanted = asked or {}
    if any(all(offer.get(name, 0) >= n for name, n in wanted.items()) for offer in offers):
        return ""
    text = " ".join(f"{name}={n:g}" for name, n in wanted.items())
    return (
        f"no worker of {address} has the resources {text}; the run waits for one. Start one with: "
        f'dask worker {address} --resources "{text}"'
    )
