"""Machine code on disk, without which kernels are compiled: what is wrong with it ends no run."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

from numba.core.caching import FunctionCache

from chunkscale.errors import ChunkscaleWarning


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function; one that is damaged, full or not writable is passed by.

    A damaged one is emptied, so that the next process finds what this one compiles.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what is stored of a signature; None if it has to be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever pickle finds in a file that was cut
            self._pass_by("read", error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store what was compiled, if that is possible."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._pass_by("written", error)

    def _pass_by(self, done: str, error: Exception) -> None:
        with contextlib.suppress(OSError):
            self.flush()
        warnings.warn(
            f"the cache of compiled kernels {self.cache_path!r} cannot be {done} "
            f"({str(error) or type(error).__name__}), so kernels are compiled again, which "
            "takes seconds; delete that folder, or set NUMBA_CACHE_DIR to another one",
            ChunkscaleWarning,
            stacklevel=2,
        )
