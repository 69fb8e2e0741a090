"""Helpers to look at outputs file by file."""

from pathlib import Path

from chunkscale.host.memory import bystander_bytes

#: Ways to store an output of the stack below: with edge shards, and chunk by chunk.
LAYOUTS = {
    "sharded": {"chunk": 8, "shard": 32},
    "chunks": {"chunk": 16, "shard": 0},
    "0.4": {"chunk": 16, "ome_zarr_version": "0.4"},
}


def stack_with_holes(noise, shape=(20, 70, 75), seed=0):
    """Return noise with a part of zeros: whole regions of it are fill value."""
    data = noise(shape, seed=seed)
    data[:, : 2 * shape[1] // 3, : shape[2] // 2] = 0
    return data


def stored(path: Path) -> dict[str, bytes]:
    """Return all files below a path."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def assert_same_output(path: Path, expected: Path) -> None:
    """Compare two outputs byte by byte, metadata and all; nothing else may lie there."""
    found, wanted = stored(path), stored(expected)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert not (path / ".chunkscale").exists()


def budget(mib):
    """Return so many MiB, and what CuPy takes where it is installed."""
    return f"{mib + bystander_bytes() // 2**20}MiB"
