"""What ImageJ writes of an image: into the description of its first page, and a tag of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkscale.errors import Notice
from chunkscale.ome.display import shown_channels
from chunkscale.sources.tiff.said import Said, length_unit, time_unit

#: ImageJ takes an inch of 72 dots for an image without a scale.
_SCREEN = 1 / 72

_RESOLUTION = {2: "inch", 3: "centimeter"}

#: What of ImageJ's metadata has no place in an output, by its key.
_NO_PLACE = {
    "Info": "Info",
    "ROI": "the ROI",
    "Overlays": "overlays",
    "cf": "the calibration of values (cf, c0, c1), so voxels keep the stored values",
}


def imagej_said(meta: Mapping[str, Any], page: Any, channels: int, slices: int) -> Said:
    """Return what ImageJ says of its image.

    Parameters
    ----------
    meta : mapping
        ``TiffFile.imagej_metadata``.
    page : tifffile.TiffPage
        The first.
    channels, slices : int
        Lengths of c and z.
    """
    notices: list[Notice] = []
    sizes, units = _plane(meta, page)
    told = meta.get("unit")
    if sizes and not units and _is_word(told) and not str(told).strip().startswith("pixel"):
        notices.append(Notice("unit", f"the unit {told!r} is unknown, so voxel sizes have no unit"))
    spacing = _number(meta.get("spacing"))
    if not spacing and {"x", "y"} <= set(sizes) and slices > 1:
        spacing = 1.0
        text = "the plane spacing is missing, which is how ImageJ writes 1; 1 is used"
        notices.append(Notice("spacing", text))
    if spacing:
        sizes["z"] = abs(spacing)  # as ImageJ does
        unit = length_unit(meta.get("zunit", meta.get("unit"))) or units.get("y")
        units |= {} if unit is None else {"z": unit}
    translation = {}
    for axis in "xyz":
        origin = _number(meta.get(f"{axis}origin"))
        if origin and axis in sizes:
            translation[axis] = -origin * sizes[axis]
    if interval := _number(meta.get("finterval")):
        sizes["t"] = abs(interval)
        text = meta.get("tunit", "sec")
        unit = time_unit(text)
        if unit is None:
            notices.append(
                Notice(
                    "unit", f"the unit of time {text!r} is unknown, so the time step has no unit"
                )
            )
        else:
            units["t"] = unit
    return Said(
        sizes=sizes,
        units=units,
        translation=translation,
        attributes=_omero(meta, channels),
        notices=(*notices, *_left_behind(meta, channels)),
    )


def _left_behind(meta: Mapping[str, Any], channels: int) -> list[Notice]:
    """Say what an output has no place for."""
    left = [text for key, text in _NO_PLACE.items() if meta.get(key) not in (None, "", b"")]
    if any(_labels(meta)) and not _channel_names(meta, channels):
        left.append("the labels of its planes")
    return [Notice("lost", f"left out of ImageJ's metadata: {', '.join(left)}")] if left else []


def _plane(meta: Mapping[str, Any], page: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Return pixel sizes of x and y, and their units; nothing where there is no scale."""
    sizes: dict[str, float] = {}
    for axis, code in (("x", 282), ("y", 283)):
        if (size := _per_pixel(page.tags.valueof(code))) is not None:
            sizes[axis] = size
    told = meta.get("unit")
    unit = length_unit(told)
    if unit is None and not _is_word(told):
        unit = _RESOLUTION.get(int(page.tags.valueof(296, 1)))
        if unit == "inch" and math.isclose(sizes.get("x", 0.0), _SCREEN):
            return {}, {}
    if unit is None and (str(told).strip().startswith("pixel") or set(sizes.values()) <= {1.0}):
        return {}, {}  # a voxel is a voxel: there is no scale
    units = {} if unit is None else dict.fromkeys(sizes, unit)
    if (other := length_unit(meta.get("yunit"))) is not None and "y" in sizes:
        units["y"] = other
    return sizes, units


def _is_word(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip().strip("\0"))


def _per_pixel(resolution: object) -> float | None:
    if not isinstance(resolution, Sequence | np.ndarray) or len(resolution) != 2:
        return None
    dots, per = float(resolution[0]), float(resolution[1])
    # Read as ImageJ does: dots over per, then its inverse.
    return per / dots if dots > 0 and per > 0 else None


def _number(value: object) -> float | None:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _omero(meta: Mapping[str, Any], channels: int) -> dict[str, Any]:
    ranges = meta.get("Ranges")
    windows: list[tuple[float, float] | None] = [None] * channels
    if isinstance(ranges, Sequence) and len(ranges) == 2 * channels:
        pairs = zip(ranges[::2], ranges[1::2], strict=True)
        windows = [(float(a), float(b)) if a <= b else None for a, b in pairs]
    elif channels == 1:
        low, high = _number(meta.get("min")), _number(meta.get("max"))
        if low is not None and high is not None and low < high:
            windows = [(low, high)]
    tables = meta.get("LUTs")
    colors: list[str | None] = [None] * channels
    if isinstance(tables, Sequence) and len(tables) == channels and channels > 1:
        colors = [_color(table) for table in tables]
    return shown_channels(_channel_names(meta, channels), colors, windows)


def _labels(meta: Mapping[str, Any]) -> list[str]:
    """Return the labels of the planes, c before z before t."""
    labels = meta.get("Labels")
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        return []
    return [str(label or "") for label in labels]


def _channel_names(meta: Mapping[str, Any], channels: int) -> list[str]:
    """Return the names of the channels, where all planes of each have the same label."""
    labels = _labels(meta)
    names = labels[:channels]
    if channels == 1 or len(labels) < channels or not all(names):
        return []
    return names if all(a == names[i % channels] for i, a in enumerate(labels)) else []


def _color(table: Any) -> str | None:
    """Return the colour of the largest value of a look-up table."""
    table = np.asarray(table)
    if table.shape != (3, 256):
        return None
    return "".join(f"{int(v):02X}" for v in table[:, 255])
