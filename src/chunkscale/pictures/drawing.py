"""The door to Matplotlib: a sheet as a figure, and as a file."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkscale.errors import OptionError
from chunkscale.pictures.colours import RGB, WHITE, Colour
from chunkscale.pictures.sheet import Header, Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure

#: Pixels of an inch: a point is as large as that on a screen.
_DPI = 100

_GROUND: Colour = (0.055, 0.063, 0.078)

_FRAME: Colour = (1.0, 0.82, 0.35)

#: What a picture can be written as, by the end of its name.
FORMATS = ("png", "pdf", "svg")


def is_installed() -> bool:
    """Whether pictures can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def require() -> None:
    """Refuse to go on where Matplotlib is not installed.

    Raises
    ------
    OptionError
    """
    if not is_installed():
        raise OptionError(
            "pictures are drawn with Matplotlib, which is not installed here; "
            "pip install 'chunkscale[plot]'"
        )


def colour_table(name: str) -> RGB:
    """Return a colour map of Matplotlib, from low to high.

    Raises
    ------
    OptionError
        If there is none of that name.
    """
    require()
    from matplotlib import colormaps

    if name not in colormaps:
        raise OptionError(
            f"colormap {name!r} is not known to Matplotlib; take magma, viridis, gray or another "
            "one of its names"
        )
    table: RGB = colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return table


def drawn(sheet: Sheet) -> Figure:
    """Return a sheet as a figure of its own, of which Matplotlib's global state knows nothing."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _quiet():
        figure = Figure(
            figsize=(sheet.width / _DPI, sheet.height / _DPI), dpi=_DPI, facecolor=_GROUND
        )
        FigureCanvasAgg(figure)
        for panel in sheet.panels:
            _draw_panel(figure, sheet, panel)
        for header in sheet.headers:
            _draw_header(figure, sheet, header)
    return figure


def encoded(figure: Figure, kind: str) -> bytes:
    """Return a figure as the content of a file; see `FORMATS`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    # Not `savefig`, which may cut or blow up the picture where the user's settings say so.
    with _quiet():
        if kind == "pdf":
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            FigureCanvasPdf(figure).print_pdf(buffer)
        elif kind == "svg":
            from matplotlib.backends.backend_svg import FigureCanvasSVG

            FigureCanvasSVG(figure).print_svg(buffer)
        canvas: Any = FigureCanvasAgg(figure)
        if kind == "png":
            canvas.print_png(buffer)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Matplotlib warns of to itself: a letter that its font lacks, say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _text(target: Any, x: float, y: float, text: str, size: float, **how: Any) -> Any:
    """Write a text as it is: a name may have a $, which begins a formula elsewhere."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    settings: dict[str, Any] = {"color": WHITE, "family": "DejaVu Sans", **how}
    return target.text(x, y, plain, fontsize=size, usetex=False, parse_math=False, **settings)


def _draw_panel(figure: Figure, sheet: Sheet, panel: Panel) -> None:
    from matplotlib.patches import Rectangle

    place = panel.place
    axes = figure.add_axes(
        (
            place.x / sheet.width,
            1 - (place.y + place.height) / sheet.height,
            place.width / sheet.width,
            place.height / sheet.height,
        )
    )
    axes.imshow(
        panel.pixels,
        interpolation="nearest",
        origin="upper",
        aspect="auto",
        extent=(0, place.width, place.height, 0),
    )
    axes.set_axis_off()
    if panel.mark is not None:
        mark = panel.mark
        corner = (mark.x, mark.y)
        axes.add_patch(
            Rectangle(corner, mark.width, mark.height, fill=False, edgecolor=_FRAME, linewidth=1.2)
        )
    if panel.framed:
        axes.add_patch(
            Rectangle(
                (0, 0), place.width, place.height, fill=False, edgecolor=_FRAME, linewidth=2.4
            )
        )
    if place.height >= 24 and place.width >= 24:
        _text(axes, 7, 6, panel.name, 9, va="top", path_effects=_halo())
    if panel.bar is not None:
        low, left = place.height - 12, 12
        axes.add_patch(
            Rectangle(
                (left, low - 4), panel.bar.pixels, 4, facecolor=WHITE, path_effects=_halo(1.5)
            )
        )
        _text(axes, left, low - 9, panel.bar.text, 10, va="bottom", path_effects=_halo())


def _halo(width: float = 2.0) -> list[Any]:
    """Return a dark rim, so that what is white can be read on white."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground=(0, 0, 0, 0.75))]


def _draw_header(figure: Figure, sheet: Sheet, header: Header) -> None:
    place, y = header.place, header.place.y
    for line in header.lines:
        size = 12.5 if line.large else 9.0
        x = float(place.x)
        for text, shade in line.pieces:
            left = place.x + place.width - x
            if not text.strip() or left <= 0:
                continue
            weight = "bold" if line.large else "normal"
            x += _fitted(figure, sheet, (x, y), text, left, size, color=shade, weight=weight)
        y += 20 if line.large else 15


def _fitted(
    figure: Figure,
    sheet: Sheet,
    corner: tuple[float, float],
    text: str,
    room: float,
    size: float,
    **how: Any,
) -> float:
    """Write a text that is cut where it has no more room; return its width in pixels."""
    x, y = corner
    written = _text(figure, x / sheet.width, 1 - y / sheet.height, text, size, va="top", **how)
    kept = text
    while (width := _width(figure, written)) > room and len(kept) > 1:
        kept = kept[: max(1, int(len(kept) * room / width) - 1)]
        written.set_text("".join(c if c.isprintable() else "?" for c in kept) + "…")
    blanks = len(text) - len(text.rstrip())
    return width + blanks * size * 0.5


def _width(figure: Figure, written: Any) -> float:
    canvas: Any = figure.canvas
    return float(written.get_window_extent(canvas.get_renderer()).width)
