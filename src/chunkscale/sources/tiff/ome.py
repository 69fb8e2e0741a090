"""What OME-XML says of the images of an OME-TIFF."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from chunkscale.errors import Notice
from chunkscale.geometry.units import METRES, Length
from chunkscale.ome.display import RGB, shown_channels
from chunkscale.sources.tiff.said import Said, length_unit, time_unit

#: Elements and attributes that no output has a place for.
_ELEMENTS = {"Description", "AcquisitionDate", "InstrumentRef", "ROIRef", "AnnotationRef"}
_ATTRIBUTES = {
    "Channel": frozenset({"EmissionWavelength", "ExcitationWavelength", "Fluor"}),
    "Plane": frozenset({"DeltaT", "ExposureTime"}),
}

#: Positions of planes differ by so much of a voxel without being told.
_SAME = 1e-3


def ome_images(text: str) -> list[Element]:
    """Return the images of a document, in its order; none where it cannot be read."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return []
    return [element for element in root if _name(element) == "Image"]


def ome_image(images: Sequence[Element], series: Sequence[Any], index: int) -> Element | None:
    """Return the element of a series of tifffile, which leaves images without planes out."""
    if len(images) == len(series):
        return images[index]
    name = series[index].name
    found = [element for element in images if element.get("Name") == name]
    return found[0] if len(found) == 1 and name else None


def ome_said(image: Element, is_rgb: bool = False) -> Said:
    """Return what an image element says of its image, whose pages are RGB or not.

    Lengths are in the unit of x where they can be told in it, so that an image has one.
    """
    pixels = next((e for e in image if _name(e) == "Pixels"), None)
    if pixels is None:
        return Said()
    notices: list[Notice] = []
    sizes: dict[str, float] = {}
    units: dict[str, str] = {}
    for axis in "XYZ":
        size = _number(pixels.get(f"PhysicalSize{axis}"))
        if size is None or size <= 0:
            if size is not None:
                text = f"PhysicalSize{axis} is {size:g}, which is not a valid size and is ignored"
                notices.append(Notice("metadata", text))
            continue
        told = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        unit = length_unit(told)
        if unit is None and told not in ("pixel", "reference frame"):
            notices.append(Notice("unit", f"the unit {told!r} of PhysicalSize{axis} is not known"))
        name = axis.lower()
        sizes[name] = size
        if unit is not None:
            units[name] = unit
    _in_one_unit(sizes, units)
    if step := _number(pixels.get("TimeIncrement")):
        told = pixels.get("TimeIncrementUnit", "s")
        unit = time_unit(told)
        if unit is None:
            notices.append(Notice("unit", f"the unit {told!r} of TimeIncrement is not known"))
        sizes["t"] = abs(step)
        units |= {} if unit is None else {"t": unit}
    translation = _translation(image, pixels, sizes, units, notices)
    if left := _left_behind(image):
        notices.append(Notice("lost", f"left out of OME-XML: {', '.join(left)}"))
    attributes = _omero(pixels, is_rgb)
    if attributes and image.get("Name"):
        attributes["omero"]["name"] = image.get("Name")
    return Said(
        sizes=sizes,
        units=units,
        translation=translation,
        attributes=attributes,
        name=image.get("Name"),
        notices=tuple(notices),
    )


def _left_behind(image: Element) -> list[str]:
    """Return what is said of an image that an output has no place for."""
    found = {_name(element) for element in image.iter()} & _ELEMENTS
    for element in image.iter():
        found |= _ATTRIBUTES.get(_name(element), frozenset()) & set(element.keys())
    return sorted(found)


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _in_one_unit(sizes: dict[str, float], units: dict[str, str]) -> None:
    common = units.get("x")
    if common is None:
        return
    for axis in "yz":
        if axis in units and units[axis] != common:
            sizes[axis] = Length(sizes[axis], units[axis]).in_unit(common)
            units[axis] = common


def _translation(
    image: Element,
    pixels: Element,
    sizes: Mapping[str, float],
    units: Mapping[str, str],
    notices: list[Notice],
) -> dict[str, float]:
    """Return where the first voxel is, if planes agree on it.

    Z of a plane is where its focus was: the first of a stack is its begin, if they follow one
    another by the voxel size. A position in units that are no lengths is that of a stage, and
    says nothing of where voxels are.
    """
    found: dict[str, float] = {}
    for axis in "XYZ":
        name = axis.lower()
        if name not in sizes or name not in units:
            if any(plane.get(f"Position{axis}") for plane in pixels):
                notices.append(_left(name, "no voxel size with a unit of length is given"))
            continue
        positions = list(_positions(pixels, axis, units[name]))
        if not positions:
            if any(_number(plane.get(f"Position{axis}")) is not None for plane in pixels):
                notices.append(_left(name, "they have no unit of length"))
            continue
        first = min((p for p in positions if p[0] == 0), default=positions[0])
        step = sizes[name] if axis == "Z" else 0.0
        off = max(abs(value - first[1] - z * step) for z, value in positions)
        back = max(abs(value - first[1] + z * step) for z, value in positions)
        if off <= _SAME * sizes[name]:
            found[name] = first[1]
        elif axis == "Z" and back <= _SAME * sizes[name]:
            notices.append(_left("z", "planes run downwards, voxels upwards"))
        else:
            notices.append(_left(name, "they do not fit one voxel grid"))
    label = next((e for e in image if _name(e) == "StageLabel"), None)
    if label is not None and not found:
        notices.append(
            Notice("lost", f"the stage label {label.get('Name')!r} and its position are left out")
        )
    return found


def _left(axis: str, why: str) -> Notice:
    return Notice("lost", f"positions of planes along {axis} are left out: {why}")


def _positions(pixels: Element, axis: str, unit: str) -> Iterator[tuple[int, float]]:
    """Yield the index z of planes and their position along an axis, in a unit."""
    for plane in pixels:
        if _name(plane) != "Plane":
            continue
        value = _number(plane.get(f"Position{axis}"))
        told = length_unit(plane.get(f"Position{axis}Unit", "reference frame"))
        if value is not None and told in METRES:
            yield int(plane.get("TheZ", 0)), Length(value, told or "").in_unit(unit)


def _omero(pixels: Element, is_rgb: bool) -> dict[str, Any]:
    labels: list[str | None] = []
    colors: list[str | None] = []
    for channel in pixels:
        if _name(channel) != "Channel":
            continue
        samples = int(_number(channel.get("SamplesPerPixel")) or 1)
        label, color = channel.get("Name"), _color(channel.get("Color"))
        if samples > 1:  # each is a channel of its own here
            parts = list(RGB)[:samples] if is_rgb else [str(i + 1) for i in range(samples)]
            labels += [f"{label} {part}" if label else part if is_rgb else None for part in parts]
            colors += [RGB.get(part) for part in parts]
        else:
            labels.append(label or None)
            colors.append(color)
    count = int(_number(pixels.get("SizeC")) or 0)
    if len(labels) != count:
        return {}
    return shown_channels(labels, colors)


def _color(text: str | None) -> str | None:
    """Return a colour of OME, a signed number of red, green, blue and alpha, as hexadecimal.

    Examples
    --------
    >>> _color("-16776961"), _color("16711935")
    ('FF0000', '00FF00')
    """
    value = _number(text)
    if value is None:
        return None
    return f"{int(value) & 0xFFFFFFFF:08X}"[:6]
