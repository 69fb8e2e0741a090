"""Fingerprints of what chunkscale makes, to compare two versions of its code to the byte.

Usage::

    python tests/exact/manifest.py WORKDIR > manifest.json
    python tests/exact/manifest.py --compare OLD.json NEW.json

Jobs go through public names only, and sources are written with zarr and NGFF metadata of this
script, so the same script runs on any layout of the package. Compare manifests that were made with
the same Python and libraries. There are four families for each job: "voxels" (decoded arrays),
"metadata" (documents without what says how arrays are cut, plans, reports and errors), "layout"
(how arrays are cut, and in which regions they were made) and "files" (the stored bytes). What
differs with the run or the place (paths, versions, memory figures) counts in none of them.

The comparison exits with 1 if voxels differ or jobs are missing, otherwise with 0.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    # Plans count a codec thread for each core, as Dask does when it is imported: let there be two,
    # in the command as well.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import dask.array as da
import numpy as np
import zarr

import chunkscale

FAMILIES = ("voxels", "metadata", "layout", "files")
DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip
DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
#: What says how an array is cut, in the documents, in the record of a run and in a plan.
CUTS = {"chunk_grid", "codecs", "chunks", "compressor", "chunk", "shard", "regions", "objects",
        "passes", "workers", "bytes_read", "read_amplification", "chunks_read"}  # fmt: skip
#: What differs from run to run, or with the machine.
PASSING = {"run", "memory"}
RUN = {"workers": 2, "device": "cpu"}
MEMORY = "1GiB"
Z5 = (1.0, 0.5, 0.5)


def noise(name: str, shape: tuple[int, ...], dtype: str, *, special: bool) -> np.ndarray:
    """Return data that depend on the name alone, over the whole range of the type."""
    random, kind = np.random.default_rng(zlib.crc32(name.encode())), np.dtype(dtype)
    if kind.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    if kind.kind != "f":
        info = np.iinfo(kind)
        return random.integers(info.min, info.max, shape, info.dtype.newbyteorder("="), True)
    data = random.normal(0, 100, shape).astype(dtype)
    if special:
        values = np.array([np.nan, np.inf, -np.inf, -0.0, np.finfo(kind).max], dtype)
        data[random.random(shape) < 0.03] = values[0]
        data.flat[:: data.size // 11] = np.resize(values, len(data.flat[:: data.size // 11]))
    return data


def write_source(
    path: Path, shape: tuple[int, ...] = (6, 20, 24), dtype: str = "uint16", *,
    version: str = "0.5", axes: str | None = None, size: tuple[float, ...] = Z5,
    origin: tuple[float, ...] | None = None, outer: dict[str, list[float]] | None = None,
    chunks: tuple[int, ...] | None = None, shards: tuple[int, ...] | None = None,
    order: str = "C", big_endian: bool = False, holes: bool = False, special: bool = False,
    unit: str | None = "micrometer", coarser: bool = False, extra: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write an image with zarr, and its NGFF metadata by hand."""
    axes = axes or "tczyx"[-len(shape) :]
    lead = len(shape) - len(size)
    chunks = chunks or (1,) * lead + (4, 16, 16)[-len(size) :]
    data = noise(path.name, shape, dtype, special=special)
    if holes:
        data[..., shape[-1] // 2 :] = 0
    options: dict[str, Any] = {"zarr_format": 3, "dimension_names": tuple(axes), "shards": shards}
    if version == "0.4":
        options = {"zarr_format": 2, "order": order,
                   "chunk_key_encoding": {"name": "v2", "separator": "/"}}  # fmt: skip
    elif order == "F":
        options["filters"] = [zarr.codecs.TransposeCodec(order=tuple(range(len(shape)))[::-1])]
    stored = data.dtype.newbyteorder(">" if big_endian else "=")
    if big_endian and version == "0.5":
        options["serializer"], stored = zarr.codecs.BytesCodec(endian="big"), data.dtype
    paths = ("0", "1") if coarser else ("0",)
    for level, name in enumerate(paths):
        array = zarr.create_array(
            str(path / name), shape=data.shape, dtype=stored, chunks=chunks, fill_value=0,
            config={"write_empty_chunks": False}, **options,
        )  # fmt: skip
        array[...] = data
        data = data[(..., *(slice(None, None, 2),) * len(size))] if level == 0 else data
    kinds = {"t": "time", "c": "channel"}
    transforms = []
    for level in range(len(paths)):
        scale = [1.0] * lead + [s * 2**level for s in size]
        found = [{"type": "scale", "scale": scale}]
        if origin is not None or level:
            half = [s * (2**level - 1) / 2 for s in size]
            moved = [a + b for a, b in zip(origin or [0.0] * len(size), half, strict=True)]
            found.append({"type": "translation", "translation": [0.0] * lead + moved})
        transforms.append(found)
    image: dict[str, Any] = {
        "name": "a stack",
        "axes": [
            {"name": n, "type": kinds.get(n, "space")}
            | ({} if n in kinds or unit is None else {"unit": unit})
            for n in axes
        ],
        "datasets": [
            {"path": p, "coordinateTransformations": t}
            for p, t in zip(paths, transforms, strict=True)
        ],
    }
    if outer:
        image["coordinateTransformations"] = [{"type": t, t: v} for t, v in outer.items()]
    if version == "0.4":
        (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        attributes = {"multiscales": [image | {"version": version}], **(extra or {})}
        (path / ".zattrs").write_text(json.dumps(attributes))
        return
    attributes = {"ome": {"version": version, "multiscales": [image], **(extra or {})}}
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(group))


class Jobs:
    """What is run in a folder, and the fingerprints of it by job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: dict[str, dict[str, Any]] = {}

    def place(self, name: str, **kwargs: Any) -> Path:
        """Return the path of a new source."""
        path = self.root / "sources" / f"{name}.zarr"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_source(path, **kwargs)
        return path

    def neutral(self, text: str) -> str:
        """Return a text without what differs with the place, the version or the memory."""
        text = text.replace(str(self.root), "ROOT")
        text = text.replace(f'"{chunkscale.__version__}"', '"VERSION"')
        return re.sub(r"[\d.]+ ?[KMG]iB", "N MiB", text)

    def split(self, value: Any) -> tuple[Any, Any]:
        """Return JSON values without what says how arrays are cut, and that alone."""
        if isinstance(value, list):
            pairs = [self.split(entry) for entry in value]
            return [a for a, _ in pairs], [b for _, b in pairs if b]
        if not isinstance(value, dict):
            return value, None
        kept = {k: self.split(v) for k, v in value.items() if k not in CUTS | PASSING}
        cuts = {k: v for k, v in value.items() if k in CUTS}
        cuts |= {k: b for k, (_, b) in kept.items() if b}
        return {k: a for k, (a, _) in kept.items()}, cuts

    def note(self, job: str, family: str, name: str, value: Any) -> None:
        """Add one fingerprint."""
        families = self.found.setdefault(job, {family: {} for family in FAMILIES})
        assert name not in families[family], (job, family, name)
        families[family][name] = value

    def document(self, job: str, name: str, value: Any) -> None:
        """Add a document, apart from how it says that arrays are cut."""
        document, cuts = self.split(json.loads(self.neutral(json.dumps(value, default=str))))
        text = json.dumps(document, sort_keys=True)
        self.note(job, "metadata", name, hashlib.sha256(text.encode()).hexdigest())
        if cuts:
            self.note(job, "layout", name, cuts)

    def array(self, job: str, name: str, values: np.ndarray) -> None:
        """Add the voxels of an array, with its type and shape."""
        digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
        self.note(job, "voxels", name, digest.hexdigest())

    def image(self, job: str, path: Path) -> None:
        """Add all that is stored of an image."""
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name, content = file.relative_to(path).as_posix(), file.read_bytes()
            if file.name in DOCUMENTS:
                self.document(job, name, json.loads(content))
                content = self.neutral(content.decode()).encode()
            self.note(job, "files", name, hashlib.sha256(content).hexdigest())
            if file.name in (".zarray", "zarr.json") and file.parent != path:
                self.array(job, file.parent.name, zarr.open_array(str(file.parent), mode="r")[...])

    def resample(self, job: str, source: Path, **options: Any) -> Any:
        """Run a job, check its output, and add both."""
        out = self.root / "outputs" / f"{job}.zarr"
        out.parent.mkdir(exist_ok=True)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run = chunkscale.resample(source, out, **({"memory": MEMORY} | RUN | options))
        self.document(job, "(warnings)", [f"{w.category.__name__}: {w.message}" for w in told])
        self.document(job, "(plan)", run.plan.as_dict())
        self.document(job, "(check)", chunkscale.check(out, source=source).as_dict())
        self.image(job, out)
        return run

    def interrupted(self, job: str, source: Path, after: int, **options: Any) -> None:
        """Interrupt a job after some regions, and resume it."""
        out = self.root / "outputs" / f"{job}.zarr"

        def stop(progress: Any) -> None:
            if progress.regions >= after:
                raise KeyboardInterrupt

        try:
            chunkscale.resample(source, out, progress=stop, **RUN, **options)
        except KeyboardInterrupt:
            unfinished = out / (".zattrs" if (out / ".zattrs").exists() else "zarr.json")
            self.document(job, "(unfinished)", json.loads(unfinished.read_bytes()))
        run = self.resample(job, source, resume=True, **options)
        expect(f"{job}: resumed", 0 < run.times.resumed_regions < run.plan.region_count)

    def refused(self, job: str, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Add the error of a call."""
        try:
            call(*args, **options)
        except chunkscale.ChunkscaleError as error:
            self.note(job, "metadata", "(error)", self.neutral(f"{type(error).__name__}: {error}"))
        else:
            raise AssertionError(f"{job} was not refused")

    def command(self, job: str, *arguments: Any, code: int = 0) -> None:
        """Run the command line, and add what it prints where that is JSON."""
        line = [sys.executable, "-m", "chunkscale", *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{line}: {done.returncode}\n{done.stderr}"
        self.document(job, "(stderr)", done.stderr)
        if "--json" in arguments:
            self.document(job, "(stdout)", json.loads(done.stdout))


def simple_jobs() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield name, source and options of the jobs that run one resampling."""
    for dtype in DTYPES:
        yield f"linear-{dtype}", {"dtype": dtype}, {}
        yield f"nearest-{dtype}", {"dtype": dtype}, {"method": "nearest", "voxel_size": 0.7}
        yield f"mode-{dtype}", {"dtype": dtype}, {"method": "mode", "voxel_size": (2.9, 0.7, 1.3)}
        yield f"area-{dtype}", {"dtype": dtype}, {"method": "area", "voxel_size": (0.7, 1.3, 2.9)}
        yield f"maxima-{dtype}", {"dtype": dtype}, {"method": "max", "voxel_size": (2.9, 0.7, 1.3)}
        yield f"max-{dtype}", {"dtype": dtype}, {"downsample": "max", "levels": 3, "chunk": 8}
        shrink = {"antialias": True, "voxel_size": (1.3, 1.7, 0.9)}
        yield f"antialias-{dtype}", {"dtype": dtype, "version": "0.4"}, shrink
    for dtype in ("float16", "float32", "float64"):
        special = {"dtype": dtype, "special": True}
        yield f"special-{dtype}", special, {}
        yield f"special-max-{dtype}", special, {"downsample": "max", "levels": 3, "chunk": 8}
        yield f"special-lanczos-{dtype}", special, {"method": "lanczos", "voxel_size": 0.7}
        yield f"special-area-{dtype}", special, {"method": "area", "voxel_size": 2.1}
        yield f"special-mode-{dtype}", special, {"method": "mode", "voxel_size": 2.1}
        yield f"special-antialias-{dtype}", special, {"antialias": True, "voxel_size": 2.1}
    small = {"shape": (9, 30, 34), "size": (2.0, 0.3, 0.3), "chunks": (3, 16, 16)}
    for name, options in {
        "zoom-up": {"zoom": 2},
        "zoom-down": {"zoom": 0.4},
        "zoom-mixed": {"voxel_size": {"z": 0.5, "y": 0.75}},
        "coarsest": {"voxel_size": "coarsest"},
        "coarsest-antialias": {"voxel_size": "coarsest", "antialias": True},
        "cubic": {"voxel_size": 0.41, "method": "cubic"},
        "cubic-antialias": {"voxel_size": 1.3, "method": "cubic", "antialias": True},
        "lanczos": {"voxel_size": 0.41, "method": "lanczos"},
        "lanczos-antialias": {"voxel_size": 1.3, "method": "lanczos", "antialias": True},
        "one-number": {"voxel_size": 0.41},
        "text": {"voxel_size": "z=1,y=0.5,x=0.5"},
        "identity": {"voxel_size": (2.0, 0.3, 0.3)},
        "large-factor": {"voxel_size": (40.0, 0.1, 9.0)},
        "source-voxel-size": {"source_voxel_size": {"z": 1, "y": 0.25, "x": 0.3}},
        "out-0.4": {"ome_zarr_version": "0.4"},
        "out-0.4-chunk": {"ome_zarr_version": "0.4", "chunk": (8, 16, 32), "levels": 3},
        "unsharded": {"shard": 0, "chunk": 16},
        "chunk-shard": {"chunk": 8, "shard": (16, 16, 32), "levels": 3},
        "levels-1": {"levels": 1},
        "levels-max": {"levels": 6, "chunk": 4},
        "nearest-levels": {"levels": 4, "method": "nearest", "chunk": 8},
        "levels-of-nearest": {"levels": 4, "downsample": "nearest", "chunk": 8},
        "levels-of-modes": {"levels": 4, "downsample": "mode", "chunk": 8},
        "codec-blosc-zstd": {"codec": "blosc-zstd"},
        "codec-zstd": {"codec": "zstd:7"},
        "codec-gzip": {"codec": "gzip:1", "ome_zarr_version": "0.4"},
        "codec-gzip-sharded": {"codec": "gzip"},
        "codec-none": {"codec": "none"},
        "codec-none-0.4": {"codec": "none", "ome_zarr_version": "0.4"},
        "codec-blosc-lz4-9": {"codec": "blosc-lz4:9", "ome_zarr_version": "0.4"},
    }.items():
        yield name, small, options
    label = {"image-label": {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}}
    omero = {"omero": {"channels": [{"label": n, "color": "00FF00"} for n in "ab"]}}
    old = {"version": "0.4"}
    flat = {"size": (0.5, 0.8), "shape": (40, 50)}
    for name, source, options in (
        ("label", {"dtype": "uint32", "extra": label}, {"levels": 3, "chunk": 8}),
        ("label-linear", {"dtype": "uint8", "extra": label} | old, {"method": "linear"}),
        ("tczyx", {"shape": (2, 2, 5, 12, 14), "extra": omero}, {"chunk": 8}),
        ("tczyx-0.4", {"shape": (2, 2, 5, 12, 14), "extra": omero} | old, {"zoom": 0.6}),
        ("czyx", {"shape": (3, 5, 12, 14)}, {"shard": 0}),
        ("many-frames", {"shape": (24, 3, 3, 9, 10)}, {"ome_zarr_version": "0.4"}),
        ("many-frames-2d", {"shape": (30, 2, 20, 22), "size": (0.5, 0.8), "axes": "tcyx"}, {}),
        ("yx", flat, {"levels": 3, "chunk": 16}),
        ("cyx", flat | {"shape": (2, 40, 50)}, {"antialias": True, "voxel_size": 1.7}),
        ("zx", flat | {"axes": "zx"}, {"voxel_size": (0.2, 1.0)}),
        ("translation", {"origin": (10.0, -3.5, 0.25)}, {"levels": 2}),
        ("outer-scale", {"outer": {"scale": [2.0, 0.5, 0.5]}}, {}),
        ("outer-both", {"outer": {"scale": [2.0, 1.0, 1.0], "translation": [5.0, 0.0, 1.0]},
                        "origin": (1.0, 2.0, 3.0)} | old, {}),
        ("pyramid-source", {"shape": (8, 32, 32), "coarser": True}, {}),
        ("no-unit", {"unit": None}, {"voxel_size": 0.8}),
        ("holes", {"shape": (8, 32, 64), "holes": True}, {"chunk": 8, "shard": 0, "levels": 2}),
        ("holes-sharded", {"shape": (8, 32, 64), "holes": True} | old, {"chunk": 8, "shard": 16}),
        ("order-f", {"order": "F"} | old, {}),
        ("order-f-0.5", {"order": "F"}, {}),
        ("big-endian", {"big_endian": True, "dtype": "float32"} | old, {}),
        ("big-endian-0.5", {"big_endian": True, "dtype": "int32"}, {"method": "nearest"}),
        ("sharded-source", {"shape": (8, 32, 32), "chunks": (4, 8, 8), "shards": (8, 16, 32)}, {}),
        ("large-chunks", {"chunks": (64, 64, 64)}, {"chunk": 256, "shard": 512}),
        ("one-plane", {"shape": (1, 20, 24)}, {"voxel_size": (0.25, 0.5, 0.5)}),
        ("path with a space", {}, {}),
    ):  # fmt: skip
        yield name, source, options


def expect(what: str, is_so: bool) -> None:
    """Say if a job no longer runs what it is there for; the other jobs count all the same."""
    if not is_so:
        print(f"not what was expected: {what}", file=sys.stderr)


def lose_a_chunk(path: Path) -> None:
    """Delete the first object of level 0."""
    min(p for p in (path / "0" / "c").rglob("*") if p.is_file()).unlink()


def run_larger_jobs(jobs: Jobs) -> None:
    """Run what takes several regions, slabs and passes, and what is interrupted."""
    stack = jobs.place("larger", shape=(64, 512, 512), chunks=(16, 128, 128))
    planes = jobs.place("planes", shape=(32, 256, 256), chunks=(1, 256, 256), dtype="uint8")
    frames = jobs.place("frames", shape=(6, 2, 8, 64, 64), dtype="int16", version="0.4")
    base = chunkscale.plan_resampling(stack, memory=MEMORY, **RUN).memory.base

    def budget(mib: int) -> int:
        return base + mib * 2**20

    # A region that alone reads a chunk may be large, and is made in slabs.
    whole = {"shape": (64, 256, 256), "chunks": (64, 256, 256), "size": (1.0, 0.2, 0.2)}
    run = jobs.resample("slabs", jobs.place("whole", **whole), shard=0, chunk=32, workers=1)
    expect("slabs: slabs", run.plan.passes[0].slab < run.plan.passes[0].region_shape[0])
    run = jobs.resample("passes", stack, voxel_size="coarsest", memory=budget(24), chunk=32)
    expect("passes: several regions", run.plan.region_count > 4)
    run = jobs.resample("little-memory", stack, memory=budget(16), workers=1, chunk=16, levels=5)
    expect("little-memory: several passes", len(run.plan.passes) > 1)
    shrink = {"voxel_size": 1.7, "antialias": True, "memory": budget(5), "chunk": 16}
    run = jobs.resample("antialias-regions", planes, **shrink)
    expect("antialias-regions: several regions", run.plan.passes[0].region_count > 4)
    jobs.resample("planes", planes, memory=budget(12), shard=0, chunk=32)
    jobs.resample("planes-0.4", planes, memory=budget(12), ome_zarr_version="0.4", codec="zstd:1")
    little = {"memory": budget(12), "chunk": 32}
    jobs.interrupted("resumed", planes, 3, **little)
    jobs.interrupted("resumed-0.4", frames, 4, memory=MEMORY, ome_zarr_version="0.4")
    jobs.interrupted("resumed-unsharded", planes, 5, shard=0, method="nearest", **little)
    out = jobs.root / "outputs" / "overwritten.zarr"
    chunkscale.resample(planes, out, levels=4, chunk=16, memory=MEMORY, **RUN)
    jobs.resample("overwritten", frames, overwrite=True, levels=1)
    jobs.resample("mended", frames)
    lose_a_chunk(out.parent / "mended.zarr")
    chunkscale.resample(frames, out.parent / "mended.zarr", resume=True, memory=MEMORY, **RUN)
    jobs.image("mended-again", out.parent / "mended.zarr")
    jobs.document("plan-large-zoom", "(plan)", chunkscale.plan_resampling(
        stack, zoom=8, memory="4GiB", **RUN).as_dict())  # fmt: skip
    jobs.refused("refuse-other-recipe", jobs.resample, "resumed", planes, resume=True, zoom=2)
    jobs.refused("refuse-memory", chunkscale.plan_resampling, stack, memory=budget(0), **RUN)


def run_like_jobs(jobs: Jobs) -> None:
    """Run what takes the grid of another image."""
    source = jobs.place("like-source", shape=(8, 30, 30), dtype="int16", origin=(0.0, 1.0, 2.0))
    other = jobs.place("like-other", shape=(12, 25, 40), size=(0.7, 600e-3, 0.4),
                       origin=(-1.5, 3.25, -0.5), version="0.4")  # fmt: skip
    nano = jobs.place("like-nano", shape=(5, 20, 20), size=(900.0, 700.0, 700.0), unit="nanometer")
    jobs.resample("like-edge", source, like=other)
    jobs.resample("like-outside", source, like=other, outside=-7, levels=2, chunk=8)
    jobs.resample("like-nearest", source, like=other, outside="0", method="nearest")
    jobs.resample("like-mode", source, like=nano, outside="0", method="mode")
    jobs.resample("like-antialias", source, like=nano, outside=3, antialias=True)
    floats = jobs.place("like-floats", shape=(8, 30, 30), dtype="float32", version="0.4")
    jobs.resample("like-nan", floats, like=other, outside=float("nan"))
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(
        axes=axes, shape=(9, 11, 13), voxel_size=(0.5, 1.5, 0.25), translation=(1.0, 0.0, 4.0)
    )
    jobs.resample("like-grid", source, like=grid, outside=1)


def run_array_jobs(jobs: Jobs) -> None:
    """Resample arrays in memory, and lazily."""
    calls: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
        "linear": ("uint16", (7, 20, 22), {"source_voxel_size": Z5, "voxel_size": "finest"}),
        "nearest": ("int64", (7, 20, 22), {"zoom": 1.7, "method": "nearest"}),
        "antialias": ("float32", (9, 40, 44), {"voxel_size": (1.5, 3.1, 2.7), "antialias": True}),
        "frames": ("uint8", (2, 3, 4, 10, 11), {"zoom": 2}),
        "plane": ("float16", (30, 31), {"zoom": 0.7, "axes": "yx"}),
        "bool": ("bool", (6, 9, 10), {"zoom": 3}),
    }
    for name, (dtype, shape, options) in calls.items():
        data = noise(name, shape, dtype, special=False)
        jobs.array(f"array-{name}", "result", chunkscale.resample_array(data, **options))
        blocks = da.from_array(data, chunks=(1,) * (data.ndim - 2) + (8, 9))
        lazy = chunkscale.resample_array(blocks, chunk=12, **options)
        jobs.array(f"dask-{name}", "result", lazy.compute(scheduler="threads", num_workers=2))
        jobs.note(f"dask-{name}", "layout", "result", lazy.chunks)


def run_commands(jobs: Jobs) -> None:
    """Run the command line, and what is refused."""
    source = jobs.place("for the command", shape=(2, 6, 40, 44), version="0.4")
    out, run = jobs.root / "outputs" / "command.zarr", ("--memory", MEMORY, "--workers", 2)
    how = ("--voxel-size", "z=0.5,y=0.6", "--chunk", "8,16,16", "--device", "cpu", *run)
    jobs.command("command-info", "info", source, "--json")
    jobs.command("command-plan", "plan", source, "--json", *how)
    jobs.command("command-resample", "resample", source, out, *how, "--codec", "zstd:3")
    jobs.image("command-resample", out)
    jobs.command("command-check", "check", out, "--source", source, "--json")
    jobs.command("command-refused", "resample", source, out, *how, code=2)
    jobs.document("info", "(info)", chunkscale.info(out))
    plan, missing = chunkscale.plan_resampling, jobs.root / "missing.zarr"
    jobs.refused("refuse-missing", plan, missing)
    jobs.refused("refuse-no-image", plan, source / "0")
    jobs.refused("refuse-axis", plan, source, voxel_size={"w": 1})
    jobs.refused("refuse-method", plan, source, method="quintic")
    jobs.refused("refuse-shard", plan, source, ome_zarr_version="0.4", shard=64)
    jobs.refused("refuse-outside", plan, source, outside=3)
    jobs.refused("refuse-codec", plan, source, codec="lzma")
    jobs.refused("refuse-existing", chunkscale.resample, source, out)
    jobs.refused("refuse-inside", chunkscale.resample, source, source / "out.zarr")
    jobs.refused("refuse-complex", chunkscale.resample_array, np.ones((2, 2), complex), zoom=2)
    lost = jobs.root / "outputs" / "lost.zarr"
    chunkscale.resample(source, lost, shard=0, chunk=16, memory=MEMORY, **RUN)
    lose_a_chunk(lost)
    jobs.document("check-lost-chunk", "(check)", chunkscale.check(lost, source=source).as_dict())


def make(root: Path) -> dict[str, Any]:
    """Run all jobs in a folder; return their fingerprints."""
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise SystemExit(f"{root} is not empty; name a new folder")
    jobs = Jobs(root)
    for name, source, options in simple_jobs():
        jobs.resample(name, jobs.place(name, **source), **options)
    for group in (run_like_jobs, run_array_jobs, run_larger_jobs, run_commands):
        group(jobs)
    return jobs.found


def compare(old: dict[str, Any], new: dict[str, Any]) -> int:
    """Print what differs, by family and job; return the exit code."""
    missing = sorted(old.keys() - new.keys())
    for job in missing:
        print(f"missing: {job}")
    for job in sorted(new.keys() - old.keys()):
        print(f"new: {job}")
    differing = dict.fromkeys(FAMILIES, 0)
    common = sorted(old.keys() & new.keys())
    for family in FAMILIES:
        for job in common:
            a, b = old[job][family], new[job][family]
            names = [n for n in sorted(a.keys() | b.keys()) if a.get(n) != b.get(n)]
            if names:
                differing[family] += 1
                more = f" and {len(names) - 6} more" if len(names) > 6 else ""
                print(f"{family}: {job}: {', '.join(names[:6])}{more}")
    figures = ", ".join(f"{count} differ in {family}" for family, count in differing.items())
    print(f"{len(common)} jobs compared: {figures}; {len(missing)} missing")
    return 1 if missing or differing["voxels"] else 0


def main(arguments: list[str]) -> int:
    """Make a manifest or compare two."""
    if len(arguments) == 3 and arguments[0] == "--compare":
        old, new = (json.loads(Path(name).read_text()) for name in arguments[1:])
        return compare(old, new)
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise SystemExit(__doc__)
    print(json.dumps(make(Path(arguments[0]).resolve()), indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
