"""Who is told while kernels are compiled: on the first run that takes seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

_listeners: list[Callable[[bool], None]] = []


@contextlib.contextmanager
def told(listen: Callable[[bool], None]) -> Iterator[None]:
    """Call `listen` with True when a kernel begins to be compiled here, and with False at its end.

    Kernels that are loaded from the disk are not told of.
    """
    _listeners.append(listen)
    try:
        yield
    finally:
        _listeners.remove(listen)


def tell(begins: bool) -> None:
    """Tell all that a kernel begins to be compiled, or is ready."""
    for listen in tuple(_listeners):
        listen(begins)
