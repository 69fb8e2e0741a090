"""Images to a picture: what is read for each panel, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.grid import VoxelGrid
from chunkscale.ome.display import label_colors
from chunkscale.pictures.colours import (
    RGB,
    WHITE,
    Colour,
    alone,
    blended,
    legible,
    mapped,
    overlaid,
    source_colours,
)
from chunkscale.pictures.layout import (
    Block,
    Place,
    Plane,
    arranged,
    bar_length,
    bar_text,
    busiest,
    inset_lengths,
    planes_of,
)
from chunkscale.pictures.levels import Stored, stored_levels
from chunkscale.pictures.look import PROJECTIONS, Look, Subject
from chunkscale.pictures.pixels import central_values, read_views
from chunkscale.pictures.sheet import GREY, Bar, Header, Line, Panel, Sheet, line
from chunkscale.pictures.views import Span, View, in_unit, picture_unit

#: A panel that is lower has no room for a scale bar, in pixels.
_LEAST_FOR_BAR = 48

#: From this width on shape and voxel size stand in one line, in pixels.
_WIDE = 430


@dataclass(slots=True, kw_only=True)
class _Shown:
    """What is known of an image while the picture is made."""

    subject: Subject
    grid: VoxelGrid
    block: Block
    levels: tuple[Stored, ...]
    labels: list[tuple[tuple[Stored, ...], Mapping[int, Sequence[int]]]]
    views: list[View]
    planes: list[NDArray[Any]] = field(default_factory=list)
    ids: list[list[NDArray[Any]]] = field(default_factory=list)
    level: int = 0

    @property
    def is_label(self) -> bool:
        return self.subject.source.is_label

    @property
    def colours(self) -> list[Colour]:
        return source_colours(self.subject.source)


def composed(subjects: Sequence[Subject], look: Look) -> Sheet:
    """Read what the panels need, and return the picture.

    Parameters
    ----------
    subjects : sequence of Subject
        They stand side by side, at one scale.
    look : Look
    """
    unit = picture_unit(subjects[0].source.grid)
    grids = [in_unit(subject.source.grid, unit) for subject in subjects]
    planes = [planes_of(grid, look.plane) for grid in grids]
    found = arranged(list(zip(grids, planes, strict=True)), look.width, inset=look.inset)
    centre = _centre(grids[0])
    shown = [
        _opened(subject, grid, block, unit, centre if look.projection == "slice" else None)
        for subject, grid, block in zip(subjects, grids, found.blocks, strict=True)
    ]
    for one in shown:
        _read(one, one.views, look)
    limits = _limits(shown, look)
    insets: list[View | None] = [None] * len(shown)
    if look.inset:
        first = _image_colours(shown[0], len(shown[0].views) - 1, limits[0], look)
        insets = list(_inset_views(shown, first, found.pixel))
    panels = [
        panel
        for one, spans, inset in zip(shown, limits, insets, strict=True)
        for panel in _panels(one, spans, inset, look, found.pixel, unit)
    ]
    return Sheet(
        width=found.width,
        height=found.height,
        panels=tuple(panels),
        headers=tuple(_header(one, look) for one in shown),
    )


def _centre(grid: VoxelGrid) -> dict[str, float]:
    """Return where the middle voxels of an image are: a place between two is in neither."""
    return {
        grid.axes[i].name: grid.translation[i] + grid.shape[i] // 2 * grid.voxel_size[i]
        for i in grid.spatial
    }


def _opened(
    subject: Subject,
    grid: VoxelGrid,
    block: Block,
    unit: str | None,
    centre: Mapping[str, float] | None,
) -> _Shown:
    return _Shown(
        subject=subject,
        grid=grid,
        block=block,
        levels=stored_levels(subject.source, unit),
        labels=[
            (stored_levels(found, unit), label_colors(found.attributes)) for found in subject.labels
        ],
        views=[_view(grid, plane, place, centre) for plane, place in block.panels],
    )


def _view(grid: VoxelGrid, plane: Plane, place: Place, centre: Mapping[str, float] | None) -> View:
    depth = None
    if centre is not None and plane.across is not None:
        low, high = grid.extent(plane.across)
        # The same plane of all images, where they have it.
        depth = centre.get(grid.axes[plane.across].name, low)
        depth = depth if low < depth < high else (low + high) / 2
    return View(
        row=plane.row,
        column=plane.column,
        across=plane.across,
        rows=grid.extent(plane.row),
        columns=grid.extent(plane.column),
        height=place.height,
        width=place.width,
        depth=depth,
    )


def _read(one: _Shown, views: Sequence[View], look: Look) -> None:
    """Read the voxels of some views, and the labels over them, behind those that are there."""
    kind = "labels" if one.is_label else "max" if look.projection == "max" else "mean"
    for pixels, level in read_views(one.levels, views, kind):
        one.planes.append(pixels)
        one.level = max(one.level, level)
    found = [
        read_views(levels, [_on(view, one.grid, levels[0].grid) for view in views], "labels")
        for levels, _ in one.labels
    ]
    one.ids += [[of[i][0][0] for of in found] for i in range(len(views))]


def _on(view: View, grid: VoxelGrid, other: VoxelGrid) -> View:
    """Return the same view of another image, whose axes may stand in another order."""

    def position(axis: int) -> int:
        return other.position(grid.axes[axis].name)

    across = None if view.across is None else position(view.across)
    return replace(view, row=position(view.row), column=position(view.column), across=across)


def _limits(shown: Sequence[_Shown], look: Look) -> list[list[Span]]:
    """Return the contrast limits of each channel: the same for images of one type, to compare."""
    groups: dict[tuple[str, int], list[_Shown]] = {}

    def key(one: _Shown) -> tuple[str, int]:
        return str(one.subject.source.array.dtype), len(one.planes[0])

    for one in shown:
        if not one.is_label:
            groups.setdefault(key(one), []).append(one)
    spans = {
        name: [
            central_values(
                (pixels[channel] for one in group for pixels in one.planes), look.percentiles
            )
            for channel in range(name[1])
        ]
        for name, group in groups.items()
    }
    return [[] if one.is_label else spans[key(one)] for one in shown]


def _colours(one: _Shown, position: int, limits: Sequence[Span], look: Look) -> RGB:
    """Return the colours of a view that was read, with the labels over it."""
    picture = _image_colours(one, position, limits, look)
    for ids, (_, stated) in zip(one.ids[position], one.labels, strict=True):
        picture = overlaid(picture, ids, stated)
    return picture


def _image_colours(one: _Shown, position: int, limits: Sequence[Span], look: Look) -> RGB:
    pixels = one.planes[position]
    if one.is_label:
        return alone(pixels[0], label_colors(one.subject.source.attributes))
    if look.table is not None and len(pixels) == 1:
        return mapped(pixels[0], limits[0], look.table)
    return blended(pixels, limits, one.colours)


def _inset_views(shown: Sequence[_Shown], picture: RGB, pixel: float) -> Iterator[View]:
    """Yield the views of the insets: the same place of all, where the first one has most to see."""
    first = shown[0]
    view, inset = first.views[-1], first.block.inset
    assert inset is not None
    voxel = min(first.grid.voxel_size[i] for i in (view.row, view.column))
    lengths = (view.rows[1] - view.rows[0], view.columns[1] - view.columns[0])
    down, right = inset_lengths(inset, lengths, pixel, voxel)
    window = (max(1, round(down / pixel)), max(1, round(right / pixel)))
    row, column = busiest(picture.mean(axis=-1), *window)
    middle = {
        first.grid.axes[axis].name: span[0] + (place + size / 2) * length / count
        for axis, span, place, size, length, count in (
            (view.row, view.rows, row, window[0], lengths[0], view.height),
            (view.column, view.columns, column, window[1], lengths[1], view.width),
        )
    }
    zoom = inset.width * pixel / right
    for one in shown:
        yield _inset_view(one, middle, first.grid, zoom / pixel)


def _inset_view(
    one: _Shown, middle: Mapping[str, float], first: VoxelGrid, per_length: float
) -> View:
    """Return the view of an inset around a place, or where that lies in the image in proportion."""
    view, inset = one.views[-1], one.block.inset
    assert inset is not None
    found = {}
    for axis, span, pixels in (
        (view.row, view.rows, inset.height),
        (view.column, view.columns, inset.width),
    ):
        name = one.grid.axes[axis].name
        place = middle.get(name, sum(span) / 2)
        if not span[0] <= place <= span[1] and name in middle:
            low, high = first.extent(first.position(name))
            place = span[0] + (place - low) / (high - low) * (span[1] - span[0])
        length = pixels / per_length
        start = min(max(place - length / 2, span[0]), max(span[1] - length, span[0]))
        found[axis] = (start, start + length)
    return replace(
        view,
        rows=found[view.row],
        columns=found[view.column],
        height=inset.height,
        width=inset.width,
    )


def _panels(
    one: _Shown,
    limits: Sequence[Span],
    inset: View | None,
    look: Look,
    pixel: float,
    unit: str | None,
) -> Iterator[Panel]:
    last = len(one.views) - 1
    for position, (view, (plane, place)) in enumerate(
        zip(one.views, one.block.panels, strict=True)
    ):
        barred = position == 0 and place.height >= _LEAST_FOR_BAR
        yield Panel(
            place=place,
            pixels=_colours(one, position, limits, look),
            name=plane.name,
            bar=_bar(place.width, pixel, unit) if barred else None,
            mark=_mark(view, inset) if inset is not None and position == last else None,
        )
    if inset is not None and one.block.inset is not None:
        level = one.level
        _read(one, [inset], look)
        one.level = level
        size = (inset.columns[1] - inset.columns[0]) / inset.width
        barred = inset.height >= _LEAST_FOR_BAR
        yield Panel(
            place=one.block.inset,
            pixels=_colours(one, last + 1, limits, look),
            name=one.block.panels[-1][0].name,
            bar=_bar(inset.width, size, unit) if barred else None,
            framed=True,
        )


def _bar(width: int, pixel: float, unit: str | None) -> Bar:
    length = bar_length(0.3 * width * pixel)
    return Bar(pixels=length / pixel, text=bar_text(length, unit))


def _mark(view: View, inset: View) -> Place:
    """Return what an inset shows of a view, in its pixels; large enough to be seen."""
    spots = []
    for span, part, count in (
        (view.columns, inset.columns, view.width),
        (view.rows, inset.rows, view.height),
    ):
        scale = count / (span[1] - span[0])
        size = min(max(round((part[1] - part[0]) * scale), 4), count)
        spots.append((min(max(round((part[0] - span[0]) * scale), 0), count - size), size))
    (x, width), (y, height) = spots
    return Place(x=x, y=y, width=width, height=height)


def _header(one: _Shown, look: Look) -> Header:
    subject = one.subject
    lines = [line(subject.title, large=True)]
    if one.block.header.width >= _WIDE:
        lines.append(line(" ".join(subject.facts), GREY))
    else:
        lines += [line(text, GREY) for text in subject.facts]
    notes = [*subject.notes]
    if len(one.views) > 1 or one.views[0].across is not None:
        words = PROJECTIONS[look.projection]
        notes.insert(0, words.removesuffix("s") if len(one.views) == 1 else words)
    if one.level:
        notes.append(f"level {one.level}")
    if not any(np.any(np.nan_to_num(pixels)) for pixels in one.planes):
        notes.append("every voxel here is 0")
    shades = [WHITE] if look.table is not None and len(one.planes[0]) == 1 else one.colours
    named = zip(subject.channels, () if one.is_label else shades, strict=False)
    pieces = [(name + "  ", legible(shade)) for name, shade in named]
    pieces.append((", ".join(notes), GREY))
    return Header(place=one.block.header, lines=(*lines, Line(pieces=tuple(pieces))))
