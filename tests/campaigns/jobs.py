"""Valid jobs at random: a source, and what is made of it. The same for the same seed and number."""

import math
import random
import shutil
import zipfile
from dataclasses import dataclass

import dask.array as da
import numpy as np
import tifffile
from campaigns import images
from grids import grid_for
from plates import ngff

AXES = ("yx", "zyx", "zyx", "cyx", "tyx", "czyx", "tzyx", "tcyx", "tczyx")

DTYPES = ("bool", "u1", "u1", "u2", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")

KINDS = ("folder", "folder", "folder", "folder", "zip", "ozx", "tiff", "array", "dask")

METHODS = ("linear", "nearest", "cubic", "lanczos", "area", "mode", "max")

#: Voxels of a source and of what is made of it; stored chunks.
LARGEST, MADE, CHUNKS = 300_000, 400_000, 400

#: Of all jobs, those of sources that stay that are killed and resumed.
KILLED = 0.03


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source, and what `chunkscale.resample` is told to make of it.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    axes, shape, dtype : str, tuple of int, str
    size, translation : dict
        Of the voxels along the spatial axes of level 0.
    codec, chunk : str, tuple of int
        How it is stored in a folder, and in which blocks a Dask array lies.
    level, labelled : int, bool
        The stored level that is read, and whether labels lie beside it.
    options : dict
        Of `chunkscale.resample`.
    name : str
        Of the output.
    killed : float, optional
        Seconds after which a run that has begun to write is killed.
    seed : int
        Of the voxels.
    """

    kind: str
    axes: str
    shape: tuple
    dtype: str
    size: dict
    translation: dict
    codec: str
    chunk: tuple
    level: int
    labelled: bool
    options: dict
    name: str
    killed: float | None
    seed: int

    @property
    def spatial(self):
        """Names of the spatial axes."""
        return [name for name in self.axes if name in "zyx"]

    @property
    def is_picked(self):
        """Whether level 0 holds voxels of the source as they are."""
        return self.options.get("method") in ("nearest", "mode", "max")

    def __str__(self):
        told = f"{self.kind} {self.axes} {self.shape} {self.dtype} {self.codec} {self.chunk}"
        parts = f"level {self.level}, labels {self.labelled}, killed {self.killed}"
        return f"{told} {self.size} {self.translation} {parts} {self.options} -> {self.name}"


def drawn(draw):
    """Return a job."""
    kind, axes = draw.choice(KINDS), draw.choice(AXES)
    dtype = draw.choice(
        [d for d in DTYPES if kind != "tiff" or d not in ("bool", "f2", "u8", "i8")]
    )
    shape = _shape(draw, axes)
    spatial = [name for name in axes if name in "zyx"]
    size = _sizes(draw, spatial)
    if kind == "tiff" and 1 in shape[-len(spatial) :]:  # such axes are left out of an image there
        kind = "folder"
    stored = kind in ("folder", "zip", "ozx")
    placed = kind != "tiff" and draw.random() < 0.4
    lies = {n: round(draw.uniform(-50, 50), 3) if placed else 0.0 for n in spatial}
    codecs = [c for c in images.CODECS if c != "v2-delta" or dtype == "u2"]
    codec = draw.choice([c for c in codecs if kind == "folder" or c.startswith("v3")])
    level = int(stored and draw.random() < 0.15 and min(shape[-len(spatial) :]) >= 2)
    labelled = stored and not level and draw.random() < 0.3
    name = "out.ozx" if draw.random() < 0.2 else "out.zarr"
    options = _options(draw, axes, shape, dtype, size, lies, one_file=name == "out.ozx")
    killable = kind not in ("array", "dask")
    if kind in ("array", "dask"):
        options |= {"axes": axes, "source_voxel_size": [size[n] for n in spatial],
                    "source_unit": "micrometer"}  # fmt: skip
        options |= {"source_translation": [lies[n] for n in spatial]} if placed else {}
    if level:
        options["level"] = level
    if labelled:
        options |= {"label_method": draw.choice(("mode", "nearest"))}
    return Job(
        kind=kind, axes=axes, shape=shape, dtype=dtype, size=size, translation=lies, codec=codec,
        chunk=_chunk(draw, shape, axes), level=level, labelled=labelled, options=options, name=name,
        killed=draw.uniform(0, 0.3) if killable and draw.random() < KILLED else None,
        seed=draw.getrandbits(31),
    )  # fmt: skip


def _shape(draw, axes):
    lead = [draw.choice((1, 2, 3, 5)) for name in axes if name in "tc"]
    count = len(axes) - len(lead)
    most = 10 ** draw.uniform(0, math.log10(LARGEST)) / math.prod(lead)
    while True:
        edges = [max(1, round(most ** (1 / count) * draw.uniform(0.4, 2))) for _ in range(count)]
        if draw.random() < 0.05:
            edges[draw.randrange(count)] = 1
        if math.prod(edges) * math.prod(lead) <= LARGEST:
            return (*lead, *edges)


def _sizes(draw, spatial):
    fine = draw.choice((0.1, 0.2, 0.25, 0.3, 0.5, 1.0, round(draw.uniform(0.05, 3), 3)))
    size = dict.fromkeys(spatial, fine)
    if "z" in size and draw.random() < 0.8:
        size["z"] = round(fine * draw.choice((2, 3, 4.95, draw.uniform(1, 6))), 4)
    if draw.random() < 0.1:
        size["x"] = round(fine * draw.uniform(0.7, 1.4), 4)
    return size


def _chunk(draw, shape, axes):
    """Return a chunk shape that leaves no more than so many chunks, alone along t and c."""
    while True:
        edge = draw.choice((4, 7, 16, 32, 64))
        chunk = [1 if n in "tc" else max(1, min(edge, s)) for n, s in zip(axes, shape, strict=True)]
        if math.prod(-(-s // c) for s, c in zip(shape, chunk, strict=True)) <= CHUNKS or edge == 64:
            return tuple(chunk)


def _options(draw, axes, shape, dtype, size, lies, *, one_file):
    spatial = list(size)
    grid = dict(zip(axes, shape, strict=True))
    lead = math.prod(grid[n] for n in axes if n in "tc")
    extent = {n: size[n] * grid[n] for n in spatial}
    while True:
        target, sizes = _target(draw, spatial, grid, size, lies)
        made = lead * math.prod(max(1, extent[n] / sizes[n]) for n in spatial)
        if "like" in target:
            made = lead * math.prod(target["like"].shape[len(axes) - len(spatial) :])
        if made <= MADE:
            break
    options = dict(target)
    method = draw.choice((None, None, *METHODS))
    options |= {"method": method} if method else {}
    if method in (None, "linear", "cubic", "lanczos") and draw.random() < 0.3:
        options["antialias"] = True
    cut = {} if "like" in target else _selection(draw, axes, grid)
    options |= cut
    kept = {n: (stop - start) / grid[n] for n, (start, stop) in cut.get("crop", {}).items()}
    shape = [max(1, extent[n] * kept.get(n, 1) / sizes[n]) for n in spatial]
    options |= _layout(draw, shape, one_file=one_file)
    if draw.random() < 0.3:
        options["memory"] = draw.choice(("600MiB", "1GiB", "3GiB"))
    options["workers"] = draw.choice((1, 2, 2, 3))
    return options


def _target(draw, spatial, grid, size, lies):
    """Return options, and about which voxel sizes these lead to."""
    kind = draw.choice(("voxel_size", "axes", "text", "zoom", "factor", "shape", "same", "like"))
    any_size = {n: round(s * math.exp(draw.uniform(-1.2, 1.6)), 4) or s for n, s in size.items()}
    if kind == "voxel_size":
        one = any_size[draw.choice(spatial)]
        return {"voxel_size": one}, dict.fromkeys(spatial, one)
    if kind == "axes":
        some = {n: any_size[n] for n in spatial if draw.random() < 0.7} or any_size
        return {"voxel_size": some}, size | some
    if kind == "text":
        word = draw.choice(("finest", "coarsest"))
        one = (min if word == "finest" else max)(size.values())
        return {"voxel_size": word}, dict.fromkeys(spatial, one)
    if kind == "zoom":
        zoom = round(math.exp(draw.uniform(-1.2, 0.9)), 3)
        return {"zoom": zoom}, dict.fromkeys(spatial, min(size.values()) / zoom)
    if kind == "factor":
        by = {n: draw.choice((1, 2, 3, 0.5, round(draw.uniform(0.3, 3), 3))) for n in spatial}
        return {"factor": by}, {n: size[n] / by[n] for n in spatial}
    if kind == "shape":
        voxels = {n: max(1, round(grid[n] * draw.uniform(0.3, 2.5))) for n in spatial}
        return {"shape": voxels}, {n: size[n] * grid[n] / voxels[n] for n in spatial}
    if kind == "same":
        return {"voxel_size": "same"}, size
    return _like(draw, spatial, grid, any_size, size, lies)


def _like(draw, spatial, grid, sizes, size, lies):
    """Return a grid that begins within the source, and may end beyond it."""
    shape = {n: max(1, round(draw.uniform(0.3, 1.5) * grid[n] * size[n] / sizes[n]))
             for n in spatial}  # fmt: skip
    starts = [lies[n] + draw.uniform(-0.2, 0.3) * grid[n] * size[n] for n in spatial]
    lead = {n: grid[n] for n in grid if n not in spatial}
    like = grid_for(
        (*lead.values(), *shape.values()), (*[1.0] * len(lead), *(sizes[n] for n in spatial)),
        axes="".join(grid), translation=(*[0.0] * len(lead), *(round(s, 3) for s in starts)),
    )  # fmt: skip
    return {"like": like} | ({"outside": 1} if draw.random() < 0.5 else {}), sizes


def _selection(draw, axes, grid):
    chosen = {}
    if draw.random() < 0.25:
        crop = {}
        for name in axes:
            voxels = grid[name]
            if name in "zyx" and voxels > 1 and draw.random() < 0.7:
                start = draw.randrange(voxels)
                crop[name] = (start, draw.randint(start + 1, voxels))
        chosen |= {"crop": crop} if crop else {}
    if grid.get("c", 1) > 1 and draw.random() < 0.3:
        chosen["channels"] = draw.sample(range(grid["c"]), draw.randint(1, grid["c"]))
    if grid.get("t", 1) > 1 and draw.random() < 0.3:
        first = draw.randrange(grid["t"])
        chosen["timepoints"] = list(range(first, grid["t"], draw.choice((1, 2))))
    return chosen


def _layout(draw, shape, *, one_file):
    version = draw.choice(("0.5", "0.5", "0.6") if one_file else ("0.4", "0.5", "0.5", "0.6"))
    layout = {"ome_zarr_version": version}
    edge = draw.choice((None, 8, 16, 32, 64))
    if edge and math.prod(-(-s // edge) for s in shape) <= CHUNKS:
        layout["chunk"] = edge
        if version != "0.4" and draw.random() < 0.6:
            layout["shard"] = draw.choice((0, edge, 2 * edge, 4 * edge))
    most = 1 + int(math.log2(min(shape)))  # as often all axes can be halved
    if draw.random() < 0.6:
        layout["levels"] = draw.randint(1, min(most, 5))
    if draw.random() < 0.5:
        layout["downsample"] = draw.choice(("mean", "mode", "nearest", "max"))
    if draw.random() < 0.3:
        layout["pyramid"] = draw.choice(("auto", "all", "keep-z"))
    if draw.random() < 0.6:
        layout["codec"] = draw.choice(("blosc-lz4", "blosc-zstd", "zstd:1", "gzip:1", "none"))
    if version != "0.4" and draw.random() < 0.3:
        layout["checksum"] = "crc32c"
    return layout


# --- what is stored ------------------------------------------------------------------------------


def voxels_of(job):
    """Return the voxels of level 0, of the level that is read, and of its labels."""
    rng, kind = np.random.default_rng(job.seed), np.dtype(job.dtype)
    if kind.kind == "f":
        data = rng.normal(0, 100, job.shape).astype(kind)
    elif kind.kind == "b":
        data = rng.integers(0, 2, job.shape).astype(bool)
    else:
        # Where voxels are mixed the positions of the oracle must be good for a grey value.
        info, most = np.iinfo(kind), 2 ** (64 if job.is_picked else 31)
        low, high = max(info.min, -most), min(info.max, most)
        data = rng.integers(low, high, job.shape, kind, endpoint=True)
    if job.seed % 3 == 0:  # whole chunks of fill value
        data[..., : job.shape[-1] // 2] = 0
    labels = rng.integers(0, 5, [job.shape[job.axes.index(n)] for n in job.spatial]).astype("u4")
    coarse = data[tuple(slice(None, None, 2 if n in "zyx" else None) for n in job.axes)]
    return data, coarse if job.level else data, labels


def read_grid(job):
    """Return sizes and positions of the voxels of the level that is read."""
    return {
        "size": {n: s * 2**job.level for n, s in job.size.items()},
        "translation": {n: t + job.size[n] / 2 * job.level for n, t in job.translation.items()},
    }


def _transforms(job, level, axes):
    size = [job.size[n] * 2**level if n in job.size else 1.0 for n in axes]
    lies = [job.translation.get(n, 0.0) + job.size.get(n, 0) / 2 * level for n in axes]
    found = [{"type": "scale", "scale": size}]
    return [*found, {"type": "translation", "translation": lies}] if any(lies) else found


def put_source(job, folder):
    """Store the source, or hold it; return it, and the path that has to stay as it is."""
    data, coarse, labels = voxels_of(job)
    if job.kind == "array":
        return data, None
    if job.kind == "dask":
        return da.from_array(data, chunks=job.chunk), None
    path = source_path(job, folder)
    if job.kind == "tiff":
        unit = {f"PhysicalSize{n.upper()}": s for n, s in job.size.items()}
        unit |= {f"PhysicalSize{n.upper()}Unit": "µm" for n in job.size}
        tiles = {"tile": (16, 32), "compression": "zlib"} if job.seed % 2 else {}
        tifffile.imwrite(path, data, ome=True, photometric="minisblack",
                         metadata={"axes": job.axes.upper(), **unit}, **tiles)  # fmt: skip
        return path, path
    stored = path if job.kind == "folder" else folder / "unpacked"
    levels = [(data, _transforms(job, 0, job.axes))]
    levels += [(coarse, _transforms(job, 1, job.axes))] if job.level else []
    images.store(stored, job.codec, levels, job.chunk, job.axes)
    if job.labelled:
        version = "0.4" if job.codec.startswith("v2") else "0.5"
        ngff(stored / "labels", {"labels": ["cells"]}, version)
        space = "".join(job.spatial)
        codec = "v2-zlib" if version == "0.4" else "v3-zstd"
        images.store(stored / "labels/cells", codec, [(labels, _transforms(job, 0, space))],
                     job.chunk[-len(space) :], space, {"image-label": {}})  # fmt: skip
    if stored != path:
        with zipfile.ZipFile(path, "w") as packed:
            for file in sorted(stored.rglob("*")):
                packed.write(file, file.relative_to(stored))
        shutil.rmtree(stored)
    return path, path


def source_path(job, folder):
    """Return where the source of a job lies."""
    ends = {"folder": ".ome.zarr", "tiff": ".ome.tif", "zip": ".zip", "ozx": ".ozx"}
    return folder / f"source{ends[job.kind]}"


def job_of(seed, number):
    """Return the job of a number."""
    return drawn(random.Random(f"soak-{seed}-{number}"))
