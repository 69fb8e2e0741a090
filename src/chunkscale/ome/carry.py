"""What an image takes over from the one that it was made from, fitted to its own grid."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chunkscale.errors import Notice
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.ome.display import completed_label, mended_label, mended_omero, number
from chunkscale.ome.entries import DEEPEST, TRANSFORMS, is_list
from chunkscale.ome.write import carried_keys
from chunkscale.text import count, some

#: Messages name so many places.
_SHOWN = 5

#: Names of attributes whose numbers may be those of the source's voxels.
_COUNTS_VOXELS = re.compile(
    r"voxel|pixel|bbox|bounding|centroid|spacing|resolution|physical_?size|size_?[xyz]"
    r"|(^|[^a-z])(area|crop|offset|origin|rois?|shape|slices?|volume|z)([^a-z]|$)",
    re.IGNORECASE,
)

#: Of OMERO's description of an image: how its pyramid is cut.
_PYRAMID = ("tiles", "tile_size", "levels", "zoomLevelScaling", "init_zoom")

_OMERO_SIZES = {"width": "x", "height": "y", "z": "z"}


def mended(
    attributes: Mapping[str, Any], grid: VoxelGrid, dtype: str
) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Return attributes that can be written as JSON, and by the rules that NGFF has for them.

    Parameters
    ----------
    attributes : mapping
        All attributes of an image's group.
    grid : VoxelGrid
        Of its level 0.
    dtype : str
        Of its voxels.
    """
    result = dict(attributes)
    found: list[Notice] = []
    inner = attributes.get("ome")
    holders = [result]
    if isinstance(inner, Mapping):
        result["ome"] = dict(inner)
        holders.append(result["ome"])
    for holder in holders:
        for key in ("omero", "image-label"):
            if key not in holder:
                continue
            wrong: list[str] = []
            stated = holder.pop(key)
            if key == "image-label":
                value: Any = mended_label(stated, wrong.append)
            elif (value := mended_omero(stated, dtype, _channels(grid), wrong.append)) is not None:
                _check_plane(value, grid, wrong)
            if value is not None:
                holder[key] = value
            found += mended_notice(repr(key), wrong)
    result, notices = json_safe(result)
    return result, (*found, *notices)


def mended_notice(what: str, wrong: Sequence[str]) -> tuple[Notice, ...]:
    """Return what is said of metadata with faults, each with its remedy in brackets."""
    if not wrong:
        return ()
    text = (
        f"{what} does not follow the specification. In brackets is what is done instead, and "
        f"written to the output: {some(wrong, _SHOWN, '; ')}"
    )
    return (Notice("metadata", text),)


def json_safe(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Return attributes with null in place of what no JSON can hold, and what that was."""
    broken: list[str] = []
    result = _clean(attributes, "", broken, 0)
    if not broken:
        return result, ()
    text = f"{some(broken, _SHOWN)}, which JSON cannot store; the output has null instead"
    return result, (Notice("metadata", text),)


def _clean(value: Any, where: str, broken: list[str], depth: int) -> Any:
    """Copy attributes; what no JSON can hold becomes null. Geometry is read elsewhere."""
    if isinstance(value, float) and not math.isfinite(value):
        broken.append(f"{where} is {value!r}")
        return None
    if depth > DEEPEST and isinstance(value, Mapping | list | tuple):
        broken.append(f"{where[:60]}... is nested deeper than {DEEPEST}")
        return None
    if isinstance(value, Mapping):
        names = {k: f"{where}.{k}" if where else str(k) for k in value}
        entry = re.fullmatch(r"(ome\.)?multiscales\[\d+\]", where)
        return {
            k: v
            if entry and k in ("datasets", TRANSFORMS)
            else _clean(v, names[k], broken, depth + 1)
            for k, v in value.items()
        }
    if is_list(value):
        return [_clean(v, f"{where}[{i}]", broken, depth + 1) for i, v in enumerate(value)]
    return value


def _channels(grid: VoxelGrid) -> int | None:
    """Return how many channels there are; None if an axis of another kind may stand for them."""
    other = [i for i, axis in enumerate(grid.axes) if axis.kind not in ("space", "time")]
    known = all(grid.axes[i].kind == "channel" for i in other)
    return math.prod(grid.shape[i] for i in other) if known else None


def _check_plane(omero: dict[str, Any], grid: VoxelGrid, wrong: list[str]) -> None:
    axes, rdefs = _named_axes(grid), omero.get("rdefs")
    for key, name, what in (("defaultZ", "z", "plane"), ("defaultT", "t", "time point")):
        shown = rdefs.get(key) if isinstance(rdefs, Mapping) else None
        if isinstance(rdefs, dict) and shown is not None:
            found = grid.shape[axes[name]] if name in axes else 1
            if not 0 <= shown < found:
                del rdefs[key]
                wrong.append(
                    f"rdefs.{key} is {shown}, and the image has {count(found, what)} (left out)"
                )


def _named_axes(grid: VoxelGrid) -> dict[str, int]:
    """Return the axes by the names that OMERO has for them."""
    first = {"z": grid.spatial[0]} if len(grid.spatial) == 3 else {}
    first |= {axis.kind[0]: i for i, axis in enumerate(grid.axes) if axis.kind == "time"}
    return first | {axis.name.lower(): i for i, axis in enumerate(grid.axes)}


def carried(
    attributes: Mapping[str, Any], source: VoxelGrid, target: VoxelGrid, dtype: str
) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Return what an image on `target` takes over from one on `source`, in the same units.

    What counts voxels follows the grid where it is known to count them.

    Parameters
    ----------
    attributes : mapping
        All attributes of the source's group.
    source, target : VoxelGrid
    dtype : str
        Of the voxels.

    Returns
    -------
    attributes : dict
    notices : tuple of Notice
        What was mended, and what will be missing or may be wrong.
    """
    result, notices = mended(attributes, source, dtype)
    found = list(notices)
    for holder in (result, result.get("ome")):
        if not isinstance(holder, dict):
            continue
        found += _follow(holder.get("omero") or {}, source, target)
        plain = completed_label(holder.get("image-label") or {})
        if plain:
            labels = some([str(label) for label in plain], _SHOWN)
            text = f"'image-label' has no colors for the labels {labels}; the output assigns some"
            found.append(Notice("labels", text))
    if source != target:
        places = list(dict.fromkeys(_suspicious(carried_keys(result), "")))
        if places:
            text = f"{some(places, _SHOWN)} may refer to source voxels and is copied unchanged"
            found.append(Notice("copied", text))
    return result, tuple(found)


def _follow(omero: dict[str, Any], source: VoxelGrid, target: VoxelGrid) -> Iterator[Notice]:
    """Let what OMERO says of planes and sizes follow the grid, in place."""
    axes = _named_axes(source)
    rdefs, z = omero.get("rdefs"), axes.get("z")
    if z is not None and isinstance(rdefs, dict) and rdefs.get("defaultZ") is not None:
        position = source.translation[z] + rdefs["defaultZ"] * source.voxel_size[z]
        index = (position - target.translation[z]) / target.voxel_size[z]
        nearest = math.floor(index + 0.5 + 1e-9)
        rdefs["defaultZ"] = min(max(nearest, 0), target.shape[z] - 1)
    size, pixel = omero.get("size"), omero.get("pixel_size")
    if isinstance(size, dict):
        names = {key: axes[name] for key, name in _OMERO_SIZES.items() if name in axes}
        size |= {key: target.shape[i] for key, i in names.items() if key in size}
    if isinstance(pixel, dict):
        for name, i in axes.items():
            if (stated := number(pixel.get(name))) is not None:
                pixel[name] = stated * (target.voxel_size[i] / source.voxel_size[i])
    left = [key for key in _PYRAMID if omero.pop(key, None) is not None]
    if left:
        text = f"{', '.join(left)} of 'omero' describe the source's pyramid and are left out"
        yield Notice("lost", text)


def counts_voxels(name: str, value: object) -> bool:
    """Whether an attribute says by its name that it counts voxels, and is no text."""
    return bool(_COUNTS_VOXELS.search(name)) and not isinstance(value, str | bool | None)


def _suspicious(value: Any, where: str) -> Iterator[str]:
    """Yield attributes whose names say that they count voxels; in lists, once for all entries."""
    if is_list(value):
        for entry in value:
            if isinstance(entry, Mapping):
                yield from _suspicious(entry, f"{where}[]")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            name = f"{where}.{key}" if where else str(key)
            if name in ("omero.size", "omero.pixel_size", "omero.rdefs"):
                continue
            if counts_voxels(str(key), inner):
                yield name
            else:
                yield from _suspicious(inner, name)
