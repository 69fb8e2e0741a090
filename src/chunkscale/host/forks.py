"""Processes that were forked, and what they must not use any more.

The child of a fork has the threads of its parent's libraries no longer: tensorstore ends a process
that uses it then, obstore and a client of Dask wait for ever.
"""

from __future__ import annotations

import os
import sys

from chunkscale.errors import ForkError

#: Of these a child knows whether its parent had loaded them.
_LIBRARIES = ("tensorstore", "obstore", "distributed", "cupy")

_inherited: set[str] = set()


def _note() -> None:
    _inherited.update(name for name in _LIBRARIES if name in sys.modules)


def _fresh_dask_pool() -> None:
    """Let Dask make a new pool of threads in a forked process.

    It keeps the one of its parent, whose threads are not there, and waits for them for ever
    (2026.8: ``dask.threaded.default_pool``).
    """
    if (threaded := sys.modules.get("dask.threaded")) is not None:
        threaded.__dict__["default_pool"] = None
        threaded.__dict__["pools"].clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
    os.register_at_fork(after_in_child=_fresh_dask_pool)


def inherited(library: str) -> bool:
    """Whether this process was forked from one that had loaded a library."""
    return library in _inherited


def fork_error(what: str) -> ForkError:
    """Return the error for what only the parent can use."""
    return ForkError(
        f"{what} cannot be used in this process, which was forked: its threads stayed in the "
        "parent process; start processes with multiprocessing's 'spawn' or 'forkserver' "
        "(multiprocessing.get_context('spawn')), or open everything in the child alone"
    )
