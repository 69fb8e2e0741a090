"""No stored object takes more memory than the voxels that it stands for, whatever it holds."""

import bz2
import gzip
import json
import lzma
import os
import signal
import struct
import zlib

import numcodecs
import numpy as np
import pytest
from campaigns import images
from numpy.testing import assert_array_equal

from chunkscale.errors import CorruptChunkError, MetadataError
from chunkscale.geometry.box import whole
from chunkscale.storage import patience
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.reader import open_array

ENGINES = ("auto", "zarr")
ZEROS = bytes(2**23)
RAW = [{"id": lzma.FILTER_LZMA2, "preset": 1}]

#: What decodes to much more than a chunk has, by codec.
BOMBS = {
    "v2-gzip": lambda: gzip.compress(ZEROS),
    "v2-zlib": lambda: zlib.compress(ZEROS),
    "v2-bz2": lambda: bz2.compress(ZEROS),
    "v2-lzma": lambda: lzma.compress(ZEROS),
    "v2-zstd": lambda: bytes(numcodecs.Zstd(1).encode(ZEROS)),
    "v2-lz4": lambda: bytes(numcodecs.LZ4().encode(ZEROS)),
    "v2-blosc-lz4": lambda: bytes(numcodecs.Blosc("lz4").encode(ZEROS)),
    "v2-delta": lambda: zlib.compress(ZEROS),
    "v3-gzip": lambda: gzip.compress(ZEROS),
    "v3-zstd": lambda: bytes(numcodecs.Zstd(1).encode(ZEROS)),
    "v3-blosc": lambda: bytes(numcodecs.Blosc("lz4").encode(ZEROS)),
    "v3-none": lambda: ZEROS,
    "v2-none": lambda: ZEROS,
}


def opened(path, engine):
    return open_array(str(path / "0"), StoreIO(threads=1, engine=engine))


def first_object(path):
    return path / ("0/0/0/0" if (path / ".zattrs").is_file() else "0/c/0/0/0")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("codec", images.CODECS)
def test_every_codec_is_read_as_it_was_written(codec, engine, tmp_path):
    """Its bounds hold all that voxels need."""
    data = images.coded(tmp_path, codec)
    assert_array_equal(opened(tmp_path, engine).read(whole(data.shape)), data)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("codec", BOMBS)
def test_a_chunk_that_decodes_to_more_than_it_has_is_named(codec, engine, tmp_path):
    """Before it is decoded."""
    data = images.coded(tmp_path, codec)
    first_object(tmp_path).write_bytes(BOMBS[codec]())
    known = engine == "auto" and codec.split("-")[1] in ("gzip", "zlib", "bz2", "zstd")
    said = r"should have \d+ at most|decodes to more than the \d+ bytes"
    with pytest.raises(CorruptChunkError, match=r"chunk \(0, 0, 0\)") as raised:
        opened(tmp_path, engine).read(whole(data.shape))
    if not known:  # what tensorstore bounds by itself it says in its own words
        assert raised.match(said)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chunk_of_a_shard_that_claims_more_is_named(engine, tmp_path, monkeypatch):
    """Tensorstore would take its head at its word."""
    blosc = {"compressors": images.codecs.BloscCodec(cname="lz4", typesize=2), "shards": (4, 8, 8)}
    monkeypatch.setitem(images.CODECS, "shards", (3, blosc))
    data = images.coded(tmp_path, "shards")
    shard = first_object(tmp_path)
    content = bytearray(shard.read_bytes())
    start = struct.unpack_from("<Q", content, len(content) - 4 - 16 * 8)[0]
    content[start + 4 : start + 8] = struct.pack("<I", 2**31 - 64)
    shard.write_bytes(content)
    with pytest.raises(CorruptChunkError, match="decodes to more than the"):
        opened(tmp_path, engine).read(whole(data.shape))


@pytest.mark.parametrize("engine", ENGINES)
def test_who_looks_at_the_head_of_a_chunk_waits_for_no_pipe(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.05)
    data = images.coded(tmp_path, "v3-blosc")
    first_object(tmp_path).unlink()
    os.mkfifo(first_object(tmp_path))

    def stop(*_):
        pytest.fail("it waits for the pipe")  # no `Exception`, which would be tried again

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)  # to open it would never end
    try:
        with pytest.raises(CorruptChunkError, match=r"is a (pipe|device) .*instead of a file"):
            opened(tmp_path, engine).read(whole(data.shape))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_stream_of_lzma_without_a_head_is_bounded_as_well(tmp_path, monkeypatch):
    """Its filters stand in the metadata."""
    codec = numcodecs.LZMA(format=lzma.FORMAT_RAW, filters=RAW)
    monkeypatch.setitem(images.CODECS, "raw", (2, {"compressors": codec}))
    data = images.coded(tmp_path, "raw")
    assert_array_equal(opened(tmp_path, "auto").read(whole(data.shape)), data)
    packed = lzma.compress(ZEROS, lzma.FORMAT_RAW, filters=RAW)
    first_object(tmp_path).write_bytes(packed)
    with pytest.raises(CorruptChunkError, match="decodes to more than the"):
        opened(tmp_path, "auto").read(whole(data.shape))


def test_frames_of_zstd_without_a_size_are_read(tmp_path):
    """Who writes them piece by piece leaves it out; their blocks tell enough."""
    data = images.coded(tmp_path, "v3-zstd")
    voxels = np.ascontiguousarray(data[:2, :8, :8]).tobytes()
    block = struct.pack("<I", len(voxels) << 3 | 1)[:3] + voxels
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 0x58]) + block
    first_object(tmp_path).write_bytes(frame)
    assert_array_equal(opened(tmp_path, "zarr").read(whole(data.shape)), data)
    claim = struct.pack("<I", (2**21 - 1) << 3 | 2)[:3] + b"\0"  # a run of two million zeros
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 0x58]) + claim
    first_object(tmp_path).write_bytes(frame)
    with pytest.raises(CorruptChunkError, match="decodes to more than the"):
        opened(tmp_path, "zarr").read(whole(data.shape))


@pytest.mark.parametrize("sharded", [False, True])
def test_chains_of_codecs_have_an_end(sharded, tmp_path):
    """Each codec of a chain takes memory in every thread, so a document may not state hundreds."""
    images.coded(tmp_path, "v3-shards" if sharded else "v3-zstd")
    document = json.loads((tmp_path / "0" / "zarr.json").read_text())
    held = document["codecs"][0]["configuration"] if sharded else document
    held["codecs"] += [held["codecs"][-1]] * 15
    (tmp_path / "0" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(MetadataError, match="17 codecs one after another, and at most 16"):
        opened(tmp_path, "auto")
