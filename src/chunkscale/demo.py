"""The demonstration: a teaching page's two calls, its exercise, and a picture."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chunkscale.errors import ChunkscaleError, DestinationError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.host.memory import peak_of
from chunkscale.output.destination import checked_destination
from chunkscale.output.places import discard, is_blank, make_folder
from chunkscale.parameters import Existing
from chunkscale.samples import NAME, SHAPE, VOXEL_SIZE, synthetic_cells, write_image
from chunkscale.sources.image import Image
from chunkscale.sources.ome_zarr import open_ome_zarr
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.groups import group_attributes
from chunkscale.storage.stores import normalise

MEMORY_MIB = 500

EXERCISE_ZOOM = 16.0


def _run(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run the command line in a process of its own; return its peak memory in bytes."""
    say("$ chunkscale " + " ".join(arguments))
    process = subprocess.Popen([sys.executable, "-m", "chunkscale", *arguments])
    peak = peak_of(process)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, ["chunkscale", *arguments])
    return peak


def run_demo(
    folder: str | os.PathLike[str] = "chunkscale-demo", *, say: Callable[[str], None] = print
) -> bool:
    """Make a stack, resample it four times, check everything, draw a picture.

    Parameters
    ----------
    folder : str or path-like
        Results of an earlier demonstration in it are replaced.
    say : callable
        Gets the lines to print.

    Returns
    -------
    bool
        Whether every command succeeded.
    """
    base = Path(folder)
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DestinationError(
            f"the folder {str(base)!r} cannot be made ({error.strerror}); choose another one"
        ) from error
    stack, iso, zoomed, finest, huge = (
        base / f"{name}.ome.zarr" for name in ("stack", "isotropic", "zoomed", "finest", "exercise")
    )
    zyx = tuple(Axis(name=n, unit="micrometer") for n in "zyx")
    grid = VoxelGrid(axes=zyx, shape=SHAPE, voxel_size=VOXEL_SIZE)
    say(f"A synthetic stack of cells, {' x '.join(map(str, SHAPE))} voxels of 1 x 0.202 x 0.202 um")
    for path in (stack, iso, zoomed, finest, huge):
        _check_own(path, stack)
    if stack.exists():
        checked_destination(stack, Existing(overwrite=True))
        make_folder(str(stack))
        discard(str(stack), ["0"])
    write_image(stack, synthetic_cells(), grid, name=NAME)
    say("\n1. Isotropic voxels of 1 um")
    _run(["resample", str(stack), str(iso), "--voxel-size", "1", "--overwrite"], say)
    _run(["check", str(iso), "--source", str(stack)], say)
    say("\n2. The same, zoomed twofold")
    _run(
        ["resample", str(stack), str(zoomed), "--voxel-size", "1", "--zoom", "2", "--overwrite"],
        say,
    )
    _run(["check", str(zoomed), "--source", str(stack)], say)
    say("\n3. The finest voxel size that the stack has")
    _run(["resample", str(stack), str(finest), "--overwrite"], say)
    _run(["check", str(finest), "--source", str(stack)], say)
    say(f"\n4. The exercise: zoom until it crashes, with {MEMORY_MIB} MiB of memory")
    peak = _run(
        [
            "resample",
            str(stack),
            str(huge),
            "--voxel-size",
            "1",
            "--zoom",
            f"{EXERCISE_ZOOM:g}",
            "--memory",
            f"{MEMORY_MIB}MiB",
            "--overwrite",
        ],
        say,
    )
    io = StoreIO(threads=2)
    result = open_ome_zarr(huge, io=io)
    size = sum(math.prod(result.level(i).shape) * 2 for i in range(len(result.multiscale.datasets)))
    say(
        f"output {size / 2**20:.0f} MiB ({' x '.join(map(str, result.grid.shape))} and smaller "
        f"levels), budget {MEMORY_MIB} MiB, measured peak memory {peak / 2**20:.0f} MiB: "
        f"{size / peak:.0f} times its memory, and no crash"
    )
    _run(["check", str(huge), "--source", str(stack)], say)
    picture = base / "projections.png"
    draw_projections(
        picture,
        [
            ("Before, one pixel per voxel", open_ome_zarr(stack, io=io), False),
            ("After, finest", open_ome_zarr(finest, io=io), True),
            ("After, 1 um", open_ome_zarr(iso, io=io), True),
        ],
    )
    say(f"\nMaximum projections before and after: {picture}")
    return peak <= MEMORY_MIB * 2**20


def _check_own(path: Path, stack: Path) -> None:
    """Refuse to replace an image that no demonstration has made."""
    if not path.exists() or is_blank(str(path)):
        return
    try:
        record = group_attributes(str(path)).get("chunkscale")
        own = isinstance(record, Mapping) and record.get("source") == normalise(stack)
        own = own or open_ome_zarr(path, io=StoreIO(threads=1)).multiscale.name == NAME
    except ChunkscaleError:
        own = False
    if not own:
        raise DestinationError(
            f"{str(path)!r} exists and is not of this demonstration; choose another folder"
        )


def draw_projections(
    path: str | os.PathLike[str],
    images: Sequence[tuple[str, Image, bool]],
    *,
    pixel: float = VOXEL_SIZE[2],
    bar: float = 20.0,
) -> None:
    """Draw the three maximum projections of 3D images, a row for each image.

    Parameters
    ----------
    path : str or path-like
        PNG file.
    images : sequence of (str, Image, bool)
        Title, image, and whether to draw it in true physical proportions or
        every voxel as one pixel.
    pixel : float
        Physical size of a pixel, in the unit that all the images have.
    bar : float
        Length of the scale bar.
    """
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    gap, head = 16, 44
    rows = []
    for title, image, physical in images:
        grid = image.grid
        step = [size / pixel if physical else 1.0 for size in grid.voxel_size]
        unit = grid.axes[0].unit or ""
        text = (
            f"{title}: {' x '.join(map(str, grid.shape))} voxels of "
            f"{' x '.join(f'{s:g}' for s in grid.voxel_size)} {unit}"
        )
        text += f" (bar: {bar:g} {unit})" if physical else ""
        rows.append((text, _projections(image, step), round(bar / pixel) if physical else 0))
    width = max(sum(p.width + gap for _, p in panels) for _, panels, _ in rows) + gap
    height = sum(max(p.height for _, p in panels) + head + gap for _, panels, _ in rows) + gap
    sheet = Picture.new("L", (width, height), 255)
    draw = ImageDraw.Draw(sheet)
    y = gap
    for text, panels, length in rows:
        draw.text((gap, y), text, fill=0, font=ImageFont.load_default(17))
        x = gap
        for label, panel in panels:
            draw.text((x, y + 23), label, fill=90, font=ImageFont.load_default(14))
            sheet.paste(panel, (x, y + head))
            if length:
                draw.rectangle((x + 8, y + head + 8, x + 8 + length, y + head + 11), fill=255)
            x += panel.width + gap
        y += max(p.height for _, p in panels) + head + gap
    sheet.save(path)


def _projections(image: Image, step: Sequence[float]) -> list[tuple[str, Any]]:
    """Return the maximum projections as pictures with `step` pixels per voxel and axis."""
    from PIL import Image as Picture

    data = image.array.read(Box(start=(0,) * 3, stop=image.grid.shape))
    low, high = np.percentile(data, (1, 99.95))
    panels = []
    for axis, label in ((0, "xy (along z)"), (1, "xz (along y)"), (2, "yz (along x)")):
        flat = (data.max(axis=axis).astype(float) - low) / max(high - low, 1)
        grey = Picture.fromarray((np.clip(flat, 0, 1) * 255).astype(np.uint8))
        rows, columns = (i for i in range(3) if i != axis)
        size = (
            max(1, round(data.shape[columns] * step[columns])),
            max(1, round(data.shape[rows] * step[rows])),
        )
        panels.append((label, grey.resize(size, Picture.Resampling.NEAREST)))
    return panels
