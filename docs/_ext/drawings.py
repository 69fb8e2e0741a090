"""The pictures of "How it works", as SVG. Colours are classes of `_static/site.css`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape


def _svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse"><path class="tip" d="M0 0L8 4L0 8z"/>'
        "</marker></defs>"
    )
    return head + "".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> str:
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
        f'rx="{radius:g}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> str:
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line class="line" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" '
        'marker-end="url(#tip)"/>'
    )


def _row(
    name: str, size: float, count: int, y: float, kind: str, unit: float, left: float
) -> list[str]:
    """Return voxels in a row, the outer edge of the first at `left`, with centres and indices."""
    parts = [_text(left - 14, y + 22, name, "strong", "end")]
    width = size * unit
    for i in range(count):
        x = left + i * width
        parts += [
            _box(x, y, width, 34, kind),
            f'<circle class="dot" cx="{x + width / 2:g}" cy="{y + 13:g}" r="2.6"/>',
            _text(x + width / 2, y + 30, str(i), "small"),
        ]
    return parts


def coordinates() -> str:
    """Draw three voxels of 1 µm that become six of 0.5 µm."""
    unit, left = 150.0, 150.0

    def at(position: float) -> float:  # of a centre in µm; voxel 0 of the source is at 0
        return left + (position + 0.5) * unit

    top, middle, low = 60, 140, 220
    parts = [
        *_row("source", 1.0, 3, top, "source", unit, left),
        *_row("target", 0.5, 6, middle, "target", unit, left),
        *_row("level 1", 1.0, 3, low, "level", unit, left),
    ]
    parts += [
        _line(left, 36, left, low + 48, "dashed"),
        _line(left + 3 * unit, 36, left + 3 * unit, low + 48, "dashed"),
        _text(left, 26, "at -0.5 µm"),
        _text(left + 1.5 * unit, 26, "outer edges coincide", "small"),
        _text(left + 3 * unit, 26, "at 2.5 µm"),
        _text(left - 14, top + 40, "1 µm, first centre at 0", "small", "end"),
        _text(left - 14, middle + 40, "0.5 µm, at -0.25 µm", "small", "end"),
        _text(left - 14, low + 40, "1 µm, at 0", "small", "end"),
        _arrow(at(1.25), middle + 8, at(1.25), top + 41),
        _line(at(1), top + 13, at(1.25), top + 40, "thin"),
        _line(at(2), top + 13, at(1.25), top + 40, "thin"),
        _text(at(1.25) + 12, middle - 14, "¾ of voxel 1 + ¼ of voxel 2", "small", "start"),
        _text(left + 1.5 * unit, low + 76, "target voxel i = 3:  (3 + 0.5) × 0.5 - 0.5 = 1.25"),
    ]
    title = "Voxels of 1 micrometer become voxels of 0.5; outer edges coincide, centres do not"
    return _svg(660, 310, title, parts)


def _grid(x: float, y: float, across: int, down: int, step: float, kind: str) -> list[str]:
    lines = [_line(x + i * step, y, x + i * step, y + down * step, kind) for i in range(across + 1)]
    lines += [
        _line(x, y + i * step, x + across * step, y + i * step, kind) for i in range(down + 1)
    ]
    return lines


def regions() -> str:
    """Draw what one region reads, and what it writes at each level."""
    parts = [
        _text(110, 24, "source, in chunks", "strong"),
        _text(420, 24, "output, level 0", "strong"),
        _text(640, 24, "level 1", "strong"),
        _text(640, 214, "level 2", "strong"),
        # What is read: the region's extent and the halo around it.
        _box(64, 84, 92, 92, "halo"),
        _box(71, 91, 78, 78, "source"),
        *_grid(20, 40, 4, 4, 45, "grid"),
        # What is written: a whole shard of four chunks at each level.
        _box(400, 120, 80, 80, "target"),
        *_grid(320, 40, 6, 6, 40, "grid"),
        *_grid(320, 40, 3, 3, 80, "shard"),
        _box(620, 80, 40, 40, "target"),
        *_grid(580, 40, 3, 3, 40, "shard"),
        _box(630, 244, 20, 20, "target"),
        *_grid(610, 224, 3, 3, 20, "shard"),
        _arrow(200, 130, 312, 150),
        _text(256, 118, "resample"),
        _arrow(484, 150, 572, 112),
        _text(524, 104, "halve"),
        _text(650, 186, "halve", "", "start"),
        _arrow(640, 166, 640, 196),
        _text(110, 250, "a region reads its box", "small"),
        _text(110, 268, "and a halo around it", "small"),
        _text(400, 304, "it owns whole shards (thick lines)", "small"),
        _text(400, 322, "of whole chunks", "small"),
        _text(640, 304, "and the shard over", "small"),
        _text(640, 322, "the same place", "small"),
    ]
    title = "A region reads one box of the source and writes one shard of every level"
    return _svg(760, 336, title, parts)


def life() -> str:
    """Draw the life of an output, from the plan to the check."""
    steps = [
        ("plan", "sizes, memory,", "refusals"),
        ("begin", "arrays, lease;", "marked unfinished"),
        ("regions", "each one noted", "in the ledger"),
        ("publish", "image metadata,", "in one write"),
        ("check", "every chunk,", "voxels recomputed"),
    ]
    parts = []
    for k, (name, first, second) in enumerate(steps):
        x = 16 + k * 148
        parts += [
            _box(x, 66, 122, 82, "target" if name in ("publish", "check") else "level", 8),
            _text(x + 61, 90, name, "strong"),
            _text(x + 61, 114, first, "small"),
            _text(x + 61, 132, second, "small"),
        ]
        if k:
            parts.append(_arrow(x - 25, 107, x - 3, 107))
    parts += [
        _text(77, 40, "nothing is written"),
        _text(299, 40, "no viewer takes it for an image"),
        _text(595, 40, "an image, whole"),
        _line(152, 22, 152, 162, "dashed"),
        _line(448, 22, 448, 162, "dashed"),
        '<path class="line" fill="none" d="M373 150 V196 H225 V154" marker-end="url(#tip)"/>',
        _text(299, 214, "interrupted: --resume makes what is missing", "small"),
    ]
    return _svg(760, 226, "The life of an output: plan, begin, regions, publish, check", parts)


DRAWINGS: dict[str, Callable[[], str]] = {
    "coordinates": coordinates,
    "regions": regions,
    "life": life,
}
