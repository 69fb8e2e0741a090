"""Small stores of all kinds, which a campaign damages."""

import json

import numcodecs
import numpy as np
import plates
import zarr
from zarr import codecs

SHAPE, SIZE = (3, 6, 7), (2.0, 0.5, 0.5)

#: Codecs of zarr 2 and of zarr 3, as arrays are made with them.
CODECS = {
    "v2-none": (2, {"compressors": None}),
    "v2-gzip": (2, {"compressors": numcodecs.GZip(1)}),
    "v2-zlib": (2, {"compressors": numcodecs.Zlib(1)}),
    "v2-bz2": (2, {"compressors": numcodecs.BZ2(1)}),
    "v2-lzma": (2, {"compressors": numcodecs.LZMA(preset=1)}),
    "v2-zstd": (2, {"compressors": numcodecs.Zstd(1)}),
    "v2-lz4": (2, {"compressors": numcodecs.LZ4()}),
    "v2-blosc-lz4": (2, {"compressors": numcodecs.Blosc("lz4", 1, 2)}),
    "v2-blosc-zstd": (2, {"compressors": numcodecs.Blosc("zstd", 1, 1)}),
    "v2-delta": (2, {"filters": [numcodecs.Delta("<u2")], "compressors": numcodecs.Zlib(1)}),
    "v3-none": (3, {"compressors": None}),
    "v3-gzip": (3, {"compressors": codecs.GzipCodec(level=1)}),
    "v3-zstd": (3, {"compressors": codecs.ZstdCodec(level=1)}),
    "v3-blosc": (3, {"compressors": codecs.BloscCodec(cname="lz4", typesize=2)}),
    "v3-crc32c": (3, {"compressors": [codecs.ZstdCodec(level=1), codecs.Crc32cCodec()]}),
    "v3-shards": (3, {"compressors": codecs.ZstdCodec(level=1), "shards": (4, 8, 8)}),
    "v3-shards-none": (3, {"compressors": None, "shards": (4, 8, 8)}),
}


def coded(path, codec, seed=0):
    """Store an image of (4, 16, 16) voxels in chunks of (2, 8, 8), or shards; return its voxels."""
    data = np.random.default_rng(seed).integers(1, 4000, (4, 16, 16)).astype("uint16")
    data[:, :8, :8] &= 3  # something to compress
    data += data == 0
    chunk = (2, 4, 4) if "shards" in CODECS[codec][1] else (2, 8, 8)
    scale = {"type": "scale", "scale": list(SIZE)}
    store(path, codec, [(data, [scale])], chunk, "zyx")
    return data


def store(path, codec, levels, chunk, axes, more=None):
    """Store levels, each as voxels and transforms, in chunks of one shape or shards twice as long.

    What the axes are called says their kind; `more` is added to the document.
    """
    zarr_format, options = CODECS[codec]
    version = "0.4" if zarr_format == 2 else "0.5"
    kinds = {"t": {"type": "time"}, "c": {"type": "channel"}}
    space = {"type": "space", "unit": "micrometer"}
    entry = {
        "axes": [{"name": name, **kinds.get(name, space)} for name in axes],
        "datasets": [
            {"path": str(k), "coordinateTransformations": transforms}
            for k, (_, transforms) in enumerate(levels)
        ],
    }
    own = {"version": version} if zarr_format == 2 else {}
    plates.ngff(path, {"multiscales": [entry | own], **(more or {})}, version)
    key = {"name": "v2" if zarr_format == 2 else "default", "separator": "/"}
    shards = {"shards": tuple(2 * n for n in chunk)} if "shards" in options else {}
    for k, (data, _) in enumerate(levels):
        array = zarr.create_array(
            path / str(k), shape=data.shape, chunks=tuple(chunk), dtype=data.dtype, fill_value=0,
            zarr_format=zarr_format, chunk_key_encoding=key, filters=options.get("filters"),
            **{k: v for k, v in options.items() if k != "filters"} | shards,
        )  # fmt: skip
        array[...] = data


def _newer(path):
    """Write an image of 0.6 with a further system, and what leads there."""
    plates.image(path, "0.6", SHAPE, SIZE)
    document = json.loads((path / "zarr.json").read_text())
    entry = document["attributes"]["ome"]["multiscales"][0]
    system = entry["coordinateSystems"][0]
    entry["coordinateSystems"].append({**system, "name": "atlas"})
    affine = [[0, 1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7]]
    ends = {"input": {"name": system["name"]}, "output": {"name": "atlas"}}
    entry["coordinateTransformations"] = [{"type": "affine", "affine": affine, **ends}]
    (path / "zarr.json").write_text(json.dumps(document))


def _labelled(path, version):
    channel = {"label": "DAPI", "color": "0000FF", "active": True,
               "window": {"start": 0, "end": 150, "min": 0, "max": 255}}  # fmt: skip
    shown = {
        "omero": {"channels": [channel, {**channel, "label": "GFP"}], "rdefs": {"defaultZ": 1}}
    }
    plates.image(path, version, (2, *SHAPE), (1.0, *SIZE))
    _add(path, version, shown)
    plates.ngff(path / "labels", {"labels": ["cells"]}, version)
    label = {"image-label": {"colors": [{"label-value": 1, "rgba": [1, 2, 3, 4]}],
                             "properties": [{"label-value": 1, "class": "a"}]}}  # fmt: skip
    plates.image(path / "labels/cells", version, SHAPE, SIZE)
    _add(path / "labels/cells", version, label)


def _add(path, version, more):
    """Add NGFF keys to a group."""
    found = plates.attributes(path)
    holder = found if version == "0.4" else found["ome"]
    holder |= more
    plates.put(path, found, version)


def _scene(path):
    plates.image(path / "one", "0.6", SHAPE, SIZE)
    plates.image(path / "two", "0.6", SHAPE, SIZE)
    world = {"name": "world", "axes": [{"name": n, "type": "space"} for n in "zyx"]}
    leads = [
        {
            "type": "translation", "translation": [0, 0, 3.5 * k],
            "input": {"path": name, "name": "physical"}, "output": {"name": "world"},
        }
        for k, name in enumerate(("one", "two"))
    ]  # fmt: skip
    scene = {"coordinateSystems": [world], "coordinateTransformations": leads}
    plates.ngff(path, {"scene": scene}, "0.6")


def documented(folder):
    """Write a store of each kind that documents describe; yield its name."""
    for version in ("0.4", "0.5", "0.6"):
        plates.image(folder / f"image-{version}", version, SHAPE, SIZE)
        yield f"image-{version}"
    _newer(folder / "systems")
    yield "systems"
    for version in ("0.4", "0.5"):
        _labelled(folder / f"labels-{version}", version)
        plates.plate(folder / f"plate-{version}", version, {"B/03": ["0"], "D/10": ["0"]})
        yield f"labels-{version}"
        yield f"plate-{version}"
    plates.series(folder / "series", xml=plates.ome_xml(2))
    yield "series"
    _scene(folder / "scene")
    yield "scene"
    for codec in ("v3-shards", "v2-delta"):
        coded(folder / codec, codec)
        yield codec
