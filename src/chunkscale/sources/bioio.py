"""Files that readers of bioio take: CZI, LIF, ND2 and the like, block by block."""

from __future__ import annotations

import inspect
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import (
    ChunkscaleError,
    CorruptChunkError,
    NotAnImageError,
    Notice,
    OptionError,
    SourceNotFoundError,
    UnstatedError,
)
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.units import metres, ngff_unit
from chunkscale.ome.display import RGB, shown_channels, with_windows
from chunkscale.sources.base import SourceOptions
from chunkscale.sources.dask_blocks import DaskBlocks
from chunkscale.sources.file_image import FileImage, file_states
from chunkscale.sources.formats import READ, belied, format_end, refuse_missing, way_around
from chunkscale.sources.several import several_images
from chunkscale.storage.block_cache import BlockCache
from chunkscale.storage.engine import StoreIO
from chunkscale.text import human_bytes, some_names

#: Readers whose voxel sizes are micrometers: their sources say so.
_MICROMETERS = ("bioio_czi", "bioio_lif", "bioio_nd2", "bioio_dv")

#: What a reader may hold of an image that it has decoded as a whole.
_MOST_HELD = 2**26

#: What bioio and its readers take of a process's memory (measured: 71 MiB with that of CZI).
_LIBRARY_BYTES = 2**27

#: Channels that a reader has named because the file does not.
_NUMBERED = re.compile(r"Channel:\d+(:\d+)?")

_COLORS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


class BioioFormat:
    """`chunkscale.sources.file_formats.FileFormat` for whatever a reader of bioio takes."""

    def takes(self, path: str) -> bool:
        """Whether a name is that of a known format, or of one that an installed reader takes."""
        if os.path.isdir(path):
            return False
        name = path.lower()
        if any(f.modules[:1] == ("bioio",) and name.endswith(f.ends) for f in READ):
            return True
        # Only then: to ask takes a second, and other readers come first.
        read_by_others = any(name.endswith(f.ends) for f in READ)
        if read_by_others or not os.path.isfile(path):
            return False
        try:
            return bool(_readers(path))
        except OptionError:
            return False  # a library that is broken says nothing of a file that may not be its own

    def images(self, path: str) -> Mapping[str, str]:
        """Return the scenes of a file: by name where these can be paths, or else by number."""
        return dict(_named_scenes(_bioimage(path)))

    def open(self, path: str, name: str | None, options: SourceOptions) -> FileImage:
        """Open the scene of that name, or the only one."""
        if options.axes is not None or options.translation is not None:
            raise OptionError(
                f"axes and source_translation do not apply to {path!r}, which states them "
                "itself; leave them out"
            )
        image = _bioimage(path)
        titles = dict(_named_scenes(image))
        scenes = list(titles)
        if name is None and len(scenes) > 1:
            raise several_images(path, "file", scenes, titles)
        if name is not None and name not in scenes:
            raise SourceNotFoundError(
                f"{path!r} has no image {name!r}; it has {some_names(scenes, 10)}"
            )
        scene = 0 if name is None else scenes.index(name)
        return _opened(path, name, image, scene, options)


def _readers(path: str) -> list[Any]:
    """Return the installed readers for a name, as bioio would try them."""
    if find_spec("bioio") is None:
        return []
    try:
        from bioio.plugins import get_plugins

        known = get_plugins(use_cache=True).items()
        found = [p for end, plugins in known if path.lower().endswith(end) for p in plugins]
        return [plugin.metadata.get_reader() for plugin in dict.fromkeys(found)]
    except ImportError as error:
        raise OptionError(
            f"{path!r} cannot be read: bioio or a reader of it cannot be imported ({error}); "
            "install them again, with what they need (pip install --upgrade bioio READER)"
        ) from error


def _named_scenes(image: Any) -> Iterator[tuple[str, str]]:
    scenes = [str(scene) for scene in image.scenes]
    plain = len(set(scenes)) == len(scenes) and all(
        re.fullmatch(r"[^\s./\\:][^/\\:]*", scene) for scene in scenes
    )
    for number, scene in enumerate(scenes):
        yield (scene, "") if plain else (str(number), scene)


def _bioimage(path: str) -> Any:
    """Return a file as bioio has it, with blocks as small as its reader makes them."""
    if not os.path.isfile(path):
        raise SourceNotFoundError(f"there is no file at {path!r}")
    readers = _readers(path)
    if not readers:
        refuse_missing(path, format_end(path))
    from bioio import BioImage

    said = []
    for reader in readers:
        asked = {"chunk_dims": ["Y", "X"]} if _takes_chunks(reader) else {}
        try:
            if reader.is_supported_image(path):
                return BioImage(path, reader=reader, **asked)
        except Exception as error:  # each reader has errors of its own
            said.append(f"{error}")
    text = f"{path!r} cannot be read by bioio ({'; '.join(said) or 'no reader takes it'})"
    raise NotAnImageError("; ".join(filter(None, [text, belied(path) or way_around(path)])))


def _takes_chunks(reader: Any) -> bool:
    """Whether a reader can be told what a block is: by default it may be a whole volume."""
    begin = reader.__init__
    return "chunk_dims" in inspect.signature(begin).parameters or "chunk_dims" in str(begin.__doc__)


def _opened(
    path: str, name: str | None, image: Any, scene: int, options: SourceOptions
) -> FileImage:
    try:
        image.set_scene(scene)
        data, rgb = _canonical(path, image)
        stated = _sizes(image)
    except ChunkscaleError:
        raise
    except Exception as error:  # each reader has errors of its own
        raise NotAnImageError(
            f"{path!r} cannot be read by {image.reader.name}: {error or repr(error)}; "
            f"{way_around(path) or 'convert it first, to OME-TIFF or OME-Zarr'}"
        ) from error
    _refuse_held(path, data)
    grid = _grid(path, image, data, stated, options)
    array = BioioVoxels(path, scene, data.data)
    attributes, shown = with_windows(_omero(_labels(image, data, rgb)), array.dtype)
    return FileImage(
        uri=path if name is None else f"{path}/{name}",
        format=f"{os.path.splitext(path)[1].lstrip('.').upper()} by {image.reader.name}",
        grid=grid,
        array=array,
        files=file_states([path]),
        name=name or os.path.splitext(os.path.basename(path))[0],
        attributes=attributes,
        notices=(
            *shown,
            Notice(
                "lost",
                f"the output keeps axes, voxel size, time step and channel names of {path!r}; "
                "all other metadata (acquisition, instrument, stage position) is left out",
            ),
        ),
        stated=tuple(
            stated.get(axis.name, size)
            for axis, size in zip(grid.axes, grid.voxel_size, strict=True)
        )
        if all(grid.axes[i].name in stated for i in grid.spatial)
        else None,
        codec=f"as {image.reader.name} has it",
        opened=options,
    )


def _canonical(path: str, image: Any) -> tuple[Any, bool]:
    """Return the array with the axes t, c, z, y, x that have something to say; and if it is RGB."""
    data = image.xarray_dask_data
    if "M" in data.dims:
        raise NotAnImageError(
            f"{path!r} is a mosaic of {data.sizes['M']} tiles, which {image.reader.name} does not "
            "stitch; convert it with bioformats2raw"
        )
    rgb = "S" in data.dims
    if rgb and data.sizes["C"] > 1:
        raise NotAnImageError(
            f"{path!r} has {data.sizes['C']} channels of {data.sizes['S']} samples each, which is "
            "not read; convert it with bioformats2raw"
        )
    if rgb:
        data = data.isel(C=0, drop=True).rename(S="C").transpose("T", "C", "Z", "Y", "X")
    kept = [d for d in "TCZYX" if data.sizes[d] > 1 or d in "YX"]
    return data.isel({d: 0 for d in "TCZ" if d not in kept}).transpose(*kept), rgb


def _sizes(image: Any) -> dict[str, float]:
    """Return the voxel sizes that the file has; 0 is one that it has not.

    Readers convert units in floats: what lies within their rounding is the decimal number.
    """
    try:
        found = image.physical_pixel_sizes
    except Exception:  # a reader that finds none may say so like this
        return {}
    pairs = zip("zyx", (found.Z, found.Y, found.X), strict=True)
    return {name: float(f"{n:.12g}") for name, n in pairs if n and math.isfinite(n)}


def _refuse_held(path: str, data: Any) -> None:
    """Refuse what its reader has decoded as a whole, and would hold in every process."""
    arrays = {id(v): v.nbytes for v in data.data.__dask_graph__().values() if _is_held(v)}
    if (held := sum(arrays.values())) > _MOST_HELD:
        raise NotAnImageError(
            f"the reader of {path!r} decodes the whole image at once ({human_bytes(held)}), so it "
            "cannot be read in parts; convert it first, to OME-TIFF or OME-Zarr"
        )


def _is_held(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _grid(
    path: str, image: Any, data: Any, stated: Mapping[str, float], options: SourceOptions
) -> VoxelGrid:
    names = [str(d).lower() for d in data.dims]
    spatial = [n for n in names if n in "zyx"]
    unit, step = _unit(image), _time_step(image, data)
    given_unit = None if options.unit is None else ngff_unit(str(options.unit))
    units_of_sizes = dict.fromkeys(spatial, unit or given_unit)
    given = {} if options.sizes is None else dict(options.sizes(units_of_sizes, len(names)))
    if missing := [n for n in spatial if not given.get(n, stated.get(n))]:
        raise UnstatedError(
            f"source_voxel_size is missing: {path!r} does not say how large its voxels are along "
            f"{', '.join(missing)}; give one number or one for each spatial axis (1 where only "
            "ratios matter)",
            sizes=tuple(missing),
        )
    if options.unit is not None and unit is not None and metres(options.unit) != metres(unit):
        raise OptionError(f"source_unit {options.unit!r} differs from the file's {unit!r}")
    sizes = {**stated, **given, "c": 1.0, "t": step or 1.0}
    units = {"t": "second" if step else None, "c": None}
    kinds = {"t": "time", "c": "channel"}
    return VoxelGrid(
        axes=tuple(
            Axis(name=n, kind=kinds.get(n, "space"), unit=units.get(n, unit or given_unit))
            for n in names
        ),
        shape=tuple(map(int, data.shape)),
        voxel_size=tuple(float(sizes[n]) for n in names),
        translation=(0.0,) * len(names),
    )


def _unit(image: Any) -> str | None:
    """Return the unit of voxel sizes, if the reader or its documentation says it."""
    stated = getattr(getattr(image, "dimension_properties", None), "X", None)
    if stated is not None and stated.unit is not None:
        return str(stated.unit)
    module = type(image.reader).__module__.partition(".")[0]
    return "micrometer" if module in _MICROMETERS else None


def _time_step(image: Any, data: Any) -> float | None:
    """Return the seconds between two time points, if the file says that they are equal."""
    if "T" not in data.dims:
        return None
    step = getattr(image, "time_interval", None)
    if step is not None:
        return float(getattr(step, "total_seconds", lambda: step)()) or None
    if "T" in data.coords:
        steps = np.diff(np.asarray(data.coords["T"].values, np.float64))
        if np.allclose(steps, steps[0], rtol=1e-6) and steps[0] > 0:
            return float(steps[0])
    return None


def _labels(image: Any, data: Any, rgb: bool) -> list[str]:
    """Return what the file calls the channels; nothing if it does not."""
    if rgb:
        return list(RGB)[: data.sizes["C"]] if data.sizes["C"] in (3, 4) else []
    found = [str(name) for name in image.channel_names or ()]
    return [] if any(map(_NUMBERED.fullmatch, found)) else found


def _omero(labels: Sequence[str]) -> dict[str, Any]:
    """Return how channels are shown: in the colours that their names say, or in one each."""
    colors = [RGB.get(label) for label in labels]
    if not all(colors) and len(labels) > 1:
        colors = [_COLORS[i % len(_COLORS)] for i in range(len(labels))]
    return shown_channels(labels, colors)


class BioioVoxels:
    """The voxels of a scene. Other processes open the file anew.

    Parameters
    ----------
    path : str
    scene : int
    blocks : dask.array.Array, optional
        As its reader has them, where it is open.
    cache_bytes : int
        What is kept of decoded blocks.
    """

    library_bytes = _LIBRARY_BYTES

    def __init__(self, path: str, scene: int, blocks: Any = None, cache_bytes: int = 0) -> None:
        self._place = path, scene
        self._cache_bytes = cache_bytes
        self._cache = BlockCache(cache_bytes)
        self._lock = threading.Lock()
        if blocks is None:
            image = _bioimage(path)
            image.set_scene(scene)
            blocks = _canonical(path, image)[0].data
        self._array = blocks
        self._blocks = _KeptBlocks(blocks, self._cache if cache_bytes else None)
        self.shape = self._blocks.shape
        self.dtype = self._blocks.dtype
        self.chunk = self._blocks.chunk

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self._place, None, self._cache_bytes)

    def within(self, io: StoreIO) -> BioioVoxels:
        """Return the same with a cache of blocks."""
        return BioioVoxels(*self._place, self._array, io.cache_bytes)

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box, in `out` if it is given (C order)."""
        try:
            return self._blocks.read(box, out)
        except ChunkscaleError:
            raise
        except Exception as error:  # each reader has errors of its own
            raise CorruptChunkError(
                f"voxels {box} of {self._place[0]!r} cannot be read: {error or repr(error)}; "
                "restore the file from the original"
            ) from error


class _KeptBlocks(DaskBlocks):
    """Blocks that a cache may hold."""

    def __init__(self, array: Any, cache: BlockCache | None) -> None:
        super().__init__(array)
        self._cache = cache

    def _block(self, index: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[Any]:
        if self._cache is None:
            return super()._block(index, shape)
        return self._cache.get(index, lambda: super(_KeptBlocks, self)._block(index, shape))
