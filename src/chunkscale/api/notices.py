"""Notices as warnings of Python."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from chunkscale.errors import AliasingWarning, ChunkscaleWarning, Notice


def warn_of(notices: Iterable[Notice], *, stacklevel: int) -> None:
    """Warn as Python does, in the name of a function of the package's user."""
    for notice in notices:
        # That it is large, or has no unit, or was asked for, follows from the call itself.
        if notice.kind not in ("size", "unit", "kept", "asked", "isotropic"):
            kind = AliasingWarning if notice.kind == "aliasing" else ChunkscaleWarning
            warnings.warn(str(notice), kind, stacklevel=stacklevel)
