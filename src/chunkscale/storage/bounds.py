"""How much a stored object may decode to: what claims more than its chunk has is refused before."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import dataclasses
import lzma
import math
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from chunkscale.storage.failures import BadObjectError

#: Codecs that tell at the start what they decode to, and those that are decoded piece by piece.
_HEADS, _STREAMS = ("blosc", "lz4", "zstd"), ("gzip", "zlib", "bz2", "lzma")

#: Bytes that are decoded at a time.
_PIECE = 2**20

#: What the dictionary of a stream of LZMA may take; its strongest presets take 65 MiB.
_LZMA_MEMORY = 2**28

#: What a block of zstd decodes to, at most.
_ZSTD_BLOCK = 2**17

#: Bytes at the start of a blosc buffer that tell its size.
_BLOSC_HEAD = 16


def most_encoded(decoded: int) -> int:
    """Return the most bytes that so many take when they are encoded and hardly compress.

    An eighth more than they are, for runs that a codec makes longer, and what heads and
    checksums take.
    """
    return decoded + decoded // 8 + 2**16


def refuse_larger(size: int, most: int) -> None:
    """Raise where something decodes to more bytes than a chunk may have."""
    if size > most:
        raise BadObjectError(f"it decodes to more than the {most} bytes that a chunk may have")


def refuse_size(size: int, most: int) -> None:
    """Raise where what is stored of a chunk or shard has more bytes than it may have."""
    if size > most:
        raise BadObjectError(f"it has {size} bytes and should have {most} at most")


def refuse_torn(size: int, least: int) -> None:
    """Raise where what is stored of a chunk or shard has fewer bytes than it must have."""
    if size < least:
        raise BadObjectError(f"it has {size} bytes and should have {least} or more")


def _blosc_size(head: bytes | memoryview) -> int:
    """Return what a blosc buffer says that it decodes to."""
    return int.from_bytes(head[4:8], "little")


def _zstd_size(content: memoryview) -> int:
    """Return what frames of zstd decode to, at most."""
    size, at, end = 0, 0, len(content)
    while at + 5 < end:
        mark = int.from_bytes(content[at : at + 4], "little")
        if mark >> 4 == 0x184D2A5:  # to be skipped
            at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
            continue
        flags = content[at + 4]
        single, width = flags >> 5 & 1, (0, 2, 4, 8)[flags >> 6]
        width = width or single
        at += 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        stated = int.from_bytes(content[at : at + width], "little") + (256 if width == 2 else 0)
        at += width
        blocks, last = 0, False
        while not last and at + 3 <= end:
            head = int.from_bytes(content[at : at + 3], "little")
            last, kind, count = bool(head & 1), head >> 1 & 3, head >> 3
            at += 3 + (1 if kind == 1 else count)
            blocks += _ZSTD_BLOCK if kind == 2 else count
        at += 4 * (flags >> 2 & 1)
        size += stated if width else blocks
    return size


def _stream(name: str, config: Mapping[str, Any]) -> Any:
    """Return what decodes a stream piece by piece."""
    if name == "lzma":
        raw = config.get("format") == lzma.FORMAT_RAW
        if raw:
            return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=config.get("filters"))
        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    if name == "bz2":
        return bz2.BZ2Decompressor()
    return zlib.decompressobj(31 if name == "gzip" else 15)


def _inflated(name: str, config: Mapping[str, Any], content: bytes, most: int) -> bytes:
    """Return what a stream decodes to; no more of it is decoded than there may be."""
    pieces, size, left = [], 0, content
    while left:  # several streams may follow one another
        stream = _stream(name, config)
        while not stream.eof:
            piece = stream.decompress(left, min(_PIECE, most + 1 - size))
            # The one keeps what it has not looked at, the others give it back.
            left = getattr(stream, "unconsumed_tail", b"")
            pieces.append(piece)
            size += len(piece)
            refuse_larger(size, most)
            if not (piece or stream.eof):
                raise BadObjectError("it ends too early")
        left = b"" if name == "zlib" else stream.unused_data.lstrip(b"\0")
    return b"".join(pieces)


def _checked(name: str, config: Mapping[str, Any], content: Any, most: int) -> bytes | None:
    """Return what content decodes to, or None where that is left to its codec: it is no more."""
    held = np.ascontiguousarray(content).data.cast("B")
    if name in _STREAMS:
        try:
            return _inflated(name, config, bytes(held), most)
        except BadObjectError:
            raise
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            raise BadObjectError(f"it cannot be decoded: {error}") from None
    if name == "zstd":
        refuse_larger(_zstd_size(held), most)
    elif name == "blosc":
        refuse_larger(_blosc_size(held[:_BLOSC_HEAD]), most)
        # It is decoded as long as its head says, whatever its true length.
        refuse_torn(len(held), max(_BLOSC_HEAD, int.from_bytes(held[12:16], "little")))
    elif name == "lz4":
        refuse_larger(int.from_bytes(held[:4], "little"), most)
    return None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a file, as few calls do it as can be: each lets other threads take the interpreter.

    A pipe is not waited for.
    """
    flags = (getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))
    file = os.open(path, os.O_RDONLY | sum(flags))
    try:
        yield file
    finally:
        os.close(file)


def _read(file: int, count: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, count, start)
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, count)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ObjectBounds:
    """What the files of an array may hold, which tensorstore reads and decodes as they are.

    Parameters
    ----------
    most : int
        Bytes of a file.
    decoded : int
        Most bytes that a chunk decodes to.
    blosc : bool
        Whether chunks are blosc buffers, whose heads are taken at their word.
    inner : int
        Chunks of a shard; 0 where there are none.
    index_first : bool
        Whether the index of a shard lies at its beginning.
    """

    most: int
    decoded: int
    blosc: bool
    inner: int = 0
    index_first: bool = False

    def refuse(self, path: str) -> None:
        """Raise for a file that would take more memory than its voxels; what is missing passes."""
        if not self.blosc:
            with contextlib.suppress(FileNotFoundError):
                refuse_size(os.stat(path).st_size, self.most)
            return
        with contextlib.suppress(FileNotFoundError), _opened(path) as file:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                return  # what it is others say
            size = found.st_size
            refuse_size(size, self.most)
            for start in self._starts(file, size):
                refuse_larger(_blosc_size(_read(file, _BLOSC_HEAD, start)), self.decoded)

    @classmethod
    def of(
        cls, array: Any, chunk: Sequence[int], shard: Sequence[int] | None, codec: str
    ) -> ObjectBounds:
        """Return the bounds of an array of zarr-python; `codec` as `codecs.codec_text` has it."""
        names = [name for name in codec.split("+") if name != "crc32c"]  # which follows a buffer
        filtered = array.metadata.zarr_format == 2 and len(names) > 1
        item = max(array.dtype.itemsize, 8 if filtered else 1)
        decoded = most_encoded(math.prod(chunk) * item)
        inner = math.prod(shard) // math.prod(chunk) if shard else 0
        location = getattr(array.metadata.codecs[0], "index_location", "") if shard else ""
        return cls(
            # Some writers leave in a shard what they have replaced.
            most=most_encoded(decoded) + 4 * inner * (most_encoded(decoded) + 16),
            decoded=decoded,
            blosc="blosc" in names[-1] if names else False,
            inner=inner,
            index_first=getattr(location, "value", location) == "start",
        )

    def _starts(self, file: int, size: int) -> list[int]:
        """Return where the chunks of a file begin; a damaged index is left to who decodes it."""
        if not self.inner:
            return [0]
        length = 16 * self.inner
        index = _read(file, length, 0 if self.index_first else max(0, size - length - 4))
        if len(index) < length:
            return []
        starts = np.frombuffer(index, "<u8")[::2]
        return [int(start) for start in starts[starts < size]]


class _Bounded:
    """A codec of numcodecs that decodes no more than a chunk has."""

    def __init__(self, codec: Any, most: int) -> None:
        self._codec, self._most = codec, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def decode(self, content: Any, out: Any = None) -> Any:
        codec = self._codec
        found = _checked(codec.codec_id, codec.get_config(), content, self._most)
        return codec.decode(content, out) if found is None else found


def bound_codecs(metadata: Any) -> Any:
    """Let the codecs of an array's metadata decode no more than a chunk has, and return these.

    tensorstore sees to that by itself; zarr-python decodes whatever there is.
    """
    if metadata.zarr_format == 3:
        object.__setattr__(metadata, "codecs", tuple(map(_bound_newer, metadata.codecs)))
        return metadata
    dtype = metadata.dtype.to_native_dtype()
    filters = metadata.filters or ()
    item = max(8, dtype.itemsize) if filters else dtype.itemsize
    most = most_encoded(math.prod(metadata.chunks) * item)

    def bound(codec: Any) -> Any:
        known = getattr(codec, "codec_id", "") in (*_HEADS, *_STREAMS)
        return _Bounded(codec, most) if known else codec

    object.__setattr__(metadata, "compressor", bound(metadata.compressor))
    object.__setattr__(metadata, "filters", tuple(map(bound, filters)) or None)
    return metadata


def _bound_newer(codec: Any) -> Any:
    from zarr.abc.codec import BytesBytesCodec
    from zarr.codecs import ShardingCodec

    if isinstance(codec, ShardingCodec):
        return dataclasses.replace(codec, codecs=tuple(map(_bound_newer, codec.codecs)))
    name = codec.to_dict()["name"] if isinstance(codec, BytesBytesCodec) else ""
    if str(name).removeprefix("numcodecs.") not in (*_HEADS, *_STREAMS):
        return codec
    return _newer_type()(codec)


@cache
def _newer_type() -> Any:
    """Return the type of bounded codecs of zarr 3, which is made when zarr is there."""
    from zarr.abc.codec import BytesBytesCodec

    @dataclasses.dataclass(frozen=True)
    class Bounded(BytesBytesCodec):
        """A codec of zarr 3 that decodes no more than a chunk has."""

        inner: Any
        is_fixed_size = False

        @property
        def _sync_capable(self) -> bool:
            return hasattr(self.inner, "_decode_sync")

        def to_dict(self) -> Any:
            return self.inner.to_dict()

        def evolve_from_array_spec(self, array_spec: Any) -> Any:
            return Bounded(self.inner.evolve_from_array_spec(array_spec))

        def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
            return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

        def _looked(self, content: Any, spec: Any) -> Any:
            stated = self.to_dict()
            name, config = stated["name"].removeprefix("numcodecs."), stated["configuration"]
            size = math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize
            found = _checked(name, config, content.as_numpy_array(), most_encoded(size))
            return None if found is None else spec.prototype.buffer.from_bytes(found)

        def _decode_sync(self, content: Any, spec: Any) -> Any:
            found = self._looked(content, spec)
            return self.inner._decode_sync(content, spec) if found is None else found

        async def _decode_single(self, content: Any, spec: Any) -> Any:
            found = await asyncio.to_thread(self._looked, content, spec)
            return await self.inner._decode_single(content, spec) if found is None else found

        def _encode_sync(self, content: Any, spec: Any) -> Any:
            return self.inner._encode_sync(content, spec)

        async def _encode_single(self, content: Any, spec: Any) -> Any:
            return await self.inner._encode_single(content, spec)

    return Bounded
