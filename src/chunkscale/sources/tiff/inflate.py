"""How large strips and tiles become, looked at before a library makes room for all of it."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

#: By name of a codec: what inflates it in pieces, and how many times larger it can become.
_BY_CODEC: dict[str, tuple[Callable[[], Any], int]] = {
    "adobe_deflate": (zlib.decompressobj, 1032),
    "deflate": (zlib.decompressobj, 1032),
    "lzma": (lzma.LZMADecompressor, 10_000),
}

#: Less does no harm, whatever it should have been.
_HARMLESS = 2**26

_PIECE = 2**20


def refuse_larger(codec: str, data: bytes, size: int) -> None:
    """Refuse what becomes larger than it should be.

    Without imagecodecs, which makes room for what a strip or tile should have, tifffile makes
    room for whatever comes out of it: from 2 MB that may be 2 GB.

    Parameters
    ----------
    codec : str
    data : bytes
    size : int
        What it should become.

    Raises
    ------
    ValueError
    """
    known, limit = _BY_CODEC.get(codec), max(size, _HARMLESS)
    if known is None or len(data) * known[1] <= limit or find_spec("imagecodecs") is not None:
        return
    inflate = known[0]()
    made, rest = 0, data
    while made <= limit and not inflate.eof:
        piece = inflate.decompress(rest, _PIECE)
        rest = getattr(inflate, "unconsumed_tail", b"")
        if not piece and not rest:
            return  # it is cut off, which whoever decodes it says
        made += len(piece)
    if made > limit:
        raise ValueError(f"it decodes to more than the {size} bytes that it should have")
