"""How kernels are compiled, and what their machine code on disk depends on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar, cast

import numba
from numba.core import event

from chunkscale.kernels import compiling
from chunkscale.kernels.cpu.cache import KernelCache

_F = TypeVar("_F", bound=Callable[..., Any])


def _fingerprint() -> str:
    """Return a short hash of the sources of all kernels, and of what they are given."""
    total = hashlib.sha256()
    for package in ("chunkscale.kernels", "chunkscale.kernels.cpu"):
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                total.update(file.read_bytes())
    return total.hexdigest()[:12]


_SOURCES = _fingerprint()


class _Listener(event.Listener):  # type: ignore[misc]
    """Tells of kernels that Numba compiles, and of nobody else's functions."""

    def on_start(self, event: Any) -> None:
        self._tell(event, True)

    def on_end(self, event: Any) -> None:
        self._tell(event, False)

    def _tell(self, event: Any, begins: bool) -> None:
        if event.data["dispatcher"].py_func.__qualname__.endswith(_SOURCES):
            compiling.tell(begins)


event.register("numba:compile", _Listener())


def entry(function: _F) -> _F:
    """Compile a kernel that Python calls; keep the machine code on disk if any place allows it.

    Numba looks whether the file of the kernel has changed, not whether its parts in other
    files have. It names what it keeps after the function, so the name tells the sources apart.
    """
    function.__qualname__ += f"_{_SOURCES}"
    compiled = numba.njit(nogil=True)(function)
    # Without it where neither the package nor the user has a writable directory.
    with contextlib.suppress(RuntimeError):
        compiled._cache = KernelCache(compiled.py_func)  # where numba keeps its own
    return cast(_F, compiled)


def part(function: _F) -> _F:
    """Compile a piece of a kernel: it needs no entry points of its own."""
    return cast(_F, numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))


def inlined(function: _F) -> _F:
    """Compile a piece that is called for single voxels: to pass it tables would take longer."""
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
    return cast(_F, numba.njit(**options)(function))
