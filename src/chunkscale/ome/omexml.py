"""OME-XML beside a collection: what it says of the sizes of images, made true for their mirrors.

Everything else stays as it is, prefixes and comments included. Elements are told by their names
without the prefix: the document's namespace changes with the year, and the names do not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder, tostring
from xml.parsers import expat

from chunkscale.errors import MetadataError, Notice
from chunkscale.geometry.grid import Axis
from chunkscale.geometry.units import METRES, metres
from chunkscale.text import human_bytes

#: Larger documents are not read: as a tree one takes ten times as much memory.
MOST_BYTES = 64 * 2**20

#: Deeper ones are not OME-XML, and could not be written again.
_DEEPEST = 100

_LENGTH_SYMBOLS = (
    "yoctometer=ym zeptometer=zm attometer=am femtometer=fm picometer=pm angstrom=Å nanometer=nm "
    "micrometer=µm millimeter=mm centimeter=cm decimeter=dm meter=m dekameter=dam hectometer=hm "
    "kilometer=km megameter=Mm gigameter=Gm terameter=Tm petameter=Pm exameter=Em zettameter=Zm "
    "yottameter=Ym inch=in foot=ft yard=yd mile=mi parsec=pc"
)

_TIME_SYMBOLS = (
    "femtosecond=fs picosecond=ps nanosecond=ns microsecond=µs millisecond=ms centisecond=cs "
    "decisecond=ds second=s minute=min hour=h day=d"
)

#: What OME-XML calls units: of length by metres, of time by NGFF's names.
_LENGTHS = {METRES[n]: s for n, s in (pair.split("=") for pair in _LENGTH_SYMBOLS.split())}
_TIMES = dict(pair.split("=") for pair in _TIME_SYMBOLS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeImage:
    """An image that was made, as far as OME-XML speaks of it.

    Parameters
    ----------
    axes : tuple of Axis
    shape : tuple of int
    voxel_size : tuple of float
    source_shape, source_voxel_size : tuple, optional
        Of the whole image that it was made from, where they are known.
    part : mapping
        Which part of that; see `Source.part`.
    """

    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    source_shape: tuple[int, ...] | None = None
    source_voxel_size: tuple[float, ...] | None = None
    part: Mapping[str, Any] = field(default_factory=dict)


def revised(content: bytes, images: Sequence[MadeImage | None]) -> tuple[bytes, tuple[Notice, ...]]:
    """Return the document with the sizes that the images have now.

    Parameters
    ----------
    content : bytes
    images : sequence of MadeImage or None
        In the order of the document; those that were not made leave it, with what refers to them.

    Returns
    -------
    content : bytes
    notices : tuple of Notice

    Raises
    ------
    MetadataError
        If it cannot be understood, or describes other images than these.
    """
    outside, root = _parsed(content)
    elements = [child for child in root if _name(child) == "Image"]
    if len(elements) != len(images):
        raise MetadataError(
            f"it describes {len(elements)} images, and the collection has {len(images)}"
        )
    lost: Counter[str] = Counter()
    resized = False
    for element, image in zip(elements, images, strict=True):
        if image is not None:
            resized |= _revise(element, image, lost)
    gone = {e.get("ID", "") for e, image in zip(elements, images, strict=True) if image is None}
    if gone:
        _remove_images(root, gone)
    text = "".join((*outside[0], tostring(root, encoding="unicode"), *outside[1]))
    notices = []
    if lost:
        listed = ", ".join(f"{name} ({n} times)" for name, n in lost.items())
        text_lost = f"entries that no longer apply, or are unknown, are left out: {listed}"
        notices.append(Notice("lost", text_lost))
    if resized and any(_name(child) == "ROI" for child in root):
        kept = "the shapes of its ROIs refer to source voxels and are copied unchanged"
        notices.append(Notice("copied", kept))
    header = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{header}{text}\n".encode(), tuple(notices)


def _parsed(content: bytes) -> tuple[tuple[list[str], list[str]], Element]:
    """Return a document as a tree, and the comments before and behind it.

    Names keep their prefixes. Entities are not defined: whatever has a document type is refused.
    """
    if len(content) > MOST_BYTES:
        raise MetadataError(
            f"it has {human_bytes(len(content))}, more than the {human_bytes(MOST_BYTES)} that "
            "are read"
        )
    builder = TreeBuilder(insert_comments=True, insert_pis=True)
    outside: tuple[list[str], list[str]] = ([], [])
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = started = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, started
        depth, started = depth + 1, 1
        if depth > _DEEPEST:
            raise MetadataError(f"it is nested deeper than {_DEEPEST}")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def comment(text: str) -> None:
        if depth:
            builder.comment(text)
        else:
            outside[started].append(f"<!--{text}-->\n")

    def instruction(target: str, text: str) -> None:
        if depth:
            builder.pi(target, text)
        else:
            outside[started].append(f"<?{target} {text}?>\n")

    def refuse(*_: object) -> None:
        raise MetadataError("it has a document type declaration, which may expand to anything")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.CommentHandler = builder.data, comment
    parser.ProcessingInstructionHandler = instruction
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise MetadataError(f"it is not valid XML: {error}") from error
    return outside, builder.close()


def _name(element: Element) -> str:
    """Return the name of an element without its prefix; nothing for comments."""
    return element.tag.rpartition(":")[2] if isinstance(element.tag, str) else ""


def _keep(parent: Element, wanted: Callable[[Element], bool]) -> int:
    """Remove the children that are not wanted; return how many those were."""
    before = len(parent)
    parent[:] = [child for child in parent if wanted(child)]
    return before - len(parent)


def _dimensions(axes: Sequence[Axis]) -> dict[str, int]:
    """Return the axis of each dimension of OME-XML that an image has, channels aside."""
    spatial = [i for i, axis in enumerate(axes) if axis.kind == "space"]
    times = [i for i, axis in enumerate(axes) if axis.kind == "time"]
    return dict([*zip("XYZ", reversed(spatial), strict=False), *zip("T", times, strict=False)])


def _sizes(axes: Sequence[Axis], shape: Sequence[int]) -> dict[str, int]:
    """Return how large each dimension is; whatever is not space or time counts as channels.

    Examples
    --------
    >>> axes = [Axis(name="c", kind="channel"), Axis(name="y"), Axis(name="x")]
    >>> _sizes(axes, (3, 20, 10))
    {'X': 10, 'Y': 20, 'Z': 1, 'C': 3, 'T': 1}
    """
    known = _dimensions(axes)
    sizes = {d: shape[known[d]] if d in known else 1 for d in "XYZCT"}
    sizes["C"] = math.prod(n for i, n in enumerate(shape) if i not in known.values())
    return sizes


def _revise(element: Element, image: MadeImage, lost: Counter[str]) -> bool:
    """Make true what an image says of its voxels; return whether its planes have changed."""
    pixels = next((child for child in element if _name(child) == "Pixels"), None)
    if pixels is None:
        raise MetadataError(f"its image {element.get('ID')!r} has no Pixels")
    stated = {d: pixels.get(f"Size{d}", "") for d in "XYZCT"}
    if image.source_shape is not None:
        there = {d: str(n) for d, n in _sizes(image.axes, image.source_shape).items()}
        if there != stated:
            raise MetadataError(
                f"its image {element.get('ID')!r} has the sizes {stated}, and the one in its place "
                f"{there}"
            )
    sizes = {d: str(n) for d, n in _sizes(image.axes, image.shape).items()}
    for dimension, size in sizes.items():
        pixels.set(f"Size{dimension}", size)
    _set_voxel_size(pixels, image, lost)
    _set_channels(pixels, image, stated["C"] == sizes["C"], lost)
    part = {*image.part, *(f"crop {name}" for name in image.part.get("crop", ()))}
    same = all(stated[d] == sizes[d] for d in "ZCT")
    if not same or part & {"channels", "timepoints", "crop z"}:
        _drop_planes(pixels, lost)
    return stated != sizes or "crop" in part


def _set_voxel_size(pixels: Element, image: MadeImage, lost: Counter[str]) -> None:
    for dimension, i in _dimensions(image.axes).items():
        name, unit = f"PhysicalSize{dimension}", image.axes[i].unit
        symbol: str | None
        if dimension == "T":
            name = "TimeIncrement"
            if "timepoints" not in image.part or pixels.get(name) is None:
                continue
            symbol = _TIMES.get(unit or "")
        else:
            length = metres(unit)
            symbol = _LENGTHS.get(length) if isinstance(length, float) else None
            symbol = symbol or _stated_unit(pixels, name, image, i)
        if symbol is not None:
            pixels.set(name, repr(float(image.voxel_size[i])))
            pixels.set(f"{name}Unit", symbol)
        elif pixels.attrib.pop(name, None) is not None:
            pixels.attrib.pop(f"{name}Unit", None)
            lost[f"{name}, which has no unit in the output"] += 1


def _stated_unit(pixels: Element, name: str, image: MadeImage, axis: int) -> str | None:
    """Return the unit of OME-XML where its number is the one that the source has without a unit."""
    if image.axes[axis].unit is not None or image.source_voxel_size is None:
        return None
    try:
        alike = math.isclose(float(pixels.get(name, "")), image.source_voxel_size[axis])
    except ValueError:
        return None
    return pixels.get(f"{name}Unit", "µm") if alike else None


def _set_channels(pixels: Element, image: MadeImage, same: bool, lost: Counter[str]) -> None:
    kept = image.part.get("channels")
    if same and kept is None:
        return
    listed = [child for child in pixels if _name(child) == "Channel"]
    if not listed:
        return
    place = list(pixels).index(listed[0])
    _keep(pixels, lambda child: _name(child) != "Channel")
    one_each = all(child.get("SamplesPerPixel", "1") == "1" for child in listed)
    if kept and one_each and max(kept) < len(listed) and len(set(kept)) == len(kept):
        pixels[place:place] = [listed[i] for i in kept]
    else:
        lost["Channel"] += len(listed)


def _drop_planes(pixels: Element, lost: Counter[str]) -> None:
    """Remove what is said of single planes, and where they lie in a file."""
    if planes := _keep(pixels, lambda child: _name(child) != "Plane"):
        lost["Plane"] += planes
    stored = ("TiffData", "BinData")
    place = next((i for i, child in enumerate(pixels) if _name(child) in stored), None)
    if place is not None:
        _keep(pixels, lambda child: _name(child) not in stored)
        prefix = pixels.tag.removesuffix("Pixels")
        pixels.insert(place, Element(f"{prefix}MetadataOnly"))


def _remove_images(root: Element, gone: AbstractSet[str]) -> None:
    """Remove images, and what refers to them: of a plate, their samples of wells."""
    samples: set[str] = set()

    def names_it(child: Element) -> bool:
        return _name(child) == "ImageRef" and child.get("ID", "") in gone

    def stays(child: Element) -> bool:
        if _name(child) == "WellSample" and any(map(names_it, child)):
            samples.add(child.get("ID", ""))
            return False
        return not names_it(child)

    _keep(root, lambda child: _name(child) != "Image" or child.get("ID", "") not in gone)
    for parent in list(root.iter()):
        _keep(parent, stays)
    for parent in list(root.iter()):
        _keep(
            parent,
            lambda child: _name(child) != "WellSampleRef" or child.get("ID", "") not in samples,
        )
