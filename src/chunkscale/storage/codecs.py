"""Codecs by the names that users give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chunkscale.errors import OptionError

#: Codec names of the interface: (compressor, its default level).
CODECS: Mapping[str, tuple[str, int]] = {
    "blosc-lz4": ("blosc", 5),
    "blosc-zstd": ("blosc", 3),
    "zstd": ("zstd", 3),
    "gzip": ("gzip", 5),
    "none": ("none", 0),
}

#: What may be stored beside each chunk, by which a reader knows that it is damaged.
CHECKSUMS = ("none", "crc32c")

_LEVELS = {"blosc": (0, 9), "zstd": (-7, 22), "gzip": (0, 9), "none": (0, 0)}


def parse_codec(text: str) -> tuple[str, int]:
    """Return (name, level) of a codec option like ``"zstd"`` or ``"zstd:5"``.

    Examples
    --------
    >>> parse_codec("blosc-lz4"), parse_codec("zstd:7")
    (('blosc-lz4', 5), ('zstd', 7))
    """
    name, _, level = text.partition(":") if isinstance(text, str) else (None, "", "")
    if name not in CODECS:
        raise OptionError(f"unknown codec {text!r}; choose one of {', '.join(CODECS)}")
    kind, default = CODECS[name]
    low, high = _LEVELS[kind]
    try:
        number = int(level) if level else default
    except ValueError:
        raise OptionError(f"the level in codec {text!r} is not a whole number") from None
    if not low <= number <= high:
        raise OptionError(f"the level of codec {text!r} must be between {low} and {high}")
    return name, number


def check_checksum(name: str, version: str) -> None:
    """Refuse a checksum that there is not, or that a version of OME-Zarr cannot hold."""
    if name not in CHECKSUMS:
        raise OptionError(f"unknown checksum {name!r}; choose one of {', '.join(CHECKSUMS)}")
    if name != "none" and version == "0.4":
        raise OptionError(
            f"checksum={name!r} (--checksum {name}) cannot be stored in OME-Zarr 0.4, as not all "
            "readers of zarr 2 support it; leave it out, or use ome_zarr_version='0.5' "
            "(--ome-zarr-version 0.5)"
        )


def make_compressors(codec: str, checksum: str, zarr_format: int, itemsize: int) -> Any:
    """Return what zarr-python takes as the compressors of an array."""
    compressor = _compressor(codec, zarr_format, itemsize)
    if checksum == "none":
        return compressor
    from zarr.codecs import Crc32cCodec

    return [*([] if compressor is None else [compressor]), Crc32cCodec()]


def _compressor(codec: str, zarr_format: int, itemsize: int) -> Any:
    name, level = parse_codec(codec)
    kind, _ = CODECS[name]
    cname: Any = name.removeprefix("blosc-")
    if zarr_format == 2:
        import numcodecs

        return {
            "blosc": lambda: numcodecs.Blosc(cname=cname, clevel=level, shuffle=2),
            "zstd": lambda: numcodecs.Zstd(level=level),
            "gzip": lambda: numcodecs.GZip(level=level),
            "none": lambda: None,
        }[kind]()
    from zarr import codecs

    return {
        "blosc": lambda: codecs.BloscCodec(
            cname=cname, clevel=level, shuffle="bitshuffle", typesize=itemsize
        ),
        "zstd": lambda: codecs.ZstdCodec(level=level),
        "gzip": lambda: codecs.GzipCodec(level=level),
        "none": lambda: None,
    }[kind]()


def codec_text(array: Any) -> str:
    if array.metadata.zarr_format == 2:
        codecs: Iterable[Any] = [*(array.filters or ()), *(array.compressors or ())]
    else:
        codecs = [*array.filters, *array.compressors]
    names = []
    for codec in codecs:
        config = codec.get_config() if hasattr(codec, "get_config") else codec.to_dict()
        name = config.get("id") or config.get("name", type(codec).__name__)
        inner = {**config, **config.get("configuration", {})}
        cname = inner.get("cname")
        names.append(f"{name}-{getattr(cname, 'value', cname)}" if cname else str(name))
    return "+".join(names) or "none"
