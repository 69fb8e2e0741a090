"""The demonstration: a teaching page's two calls, its exercise, and a picture of them."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from chunkscale.errors import ChunkscaleError, DestinationError
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.host.memory import peak_of
from chunkscale.output.destination import checked_destination
from chunkscale.output.places import discard, is_blank, make_folder
from chunkscale.output.provenance import path_hash, source_hash
from chunkscale.parameters import Existing
from chunkscale.pictures.drawing import is_installed
from chunkscale.samples import (
    NAME,
    SHAPE,
    VOXEL_SIZE,
    synthetic_cells,
    synthetic_labels,
    write_image,
    write_labels,
)
from chunkscale.sources.ome_zarr import open_ome_zarr
from chunkscale.storage import objects as contents
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.groups import group_attributes
from chunkscale.storage.stores import normalise

MEMORY_MIB = 500

EXERCISE_ZOOM = 16.0

CELLS = 240

PICTURE = "before-after.png"


def _run(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run the command line in a process of its own; return its peak memory in bytes."""
    say("$ " + shlex.join(["chunkscale", *arguments]))
    process = subprocess.Popen([sys.executable, "-m", "chunkscale", *arguments])
    peak = peak_of(process)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, ["chunkscale", *arguments])
    return peak


def run_demo(
    folder: str | os.PathLike[str] = "chunkscale-demo", *, say: Callable[[str], None] = print
) -> bool:
    """Make a stack with labels, resample it four times, check everything, draw a picture.

    Without Matplotlib it says how to get the picture.

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
    say(f"A synthetic stack of cells, {' x '.join(map(str, SHAPE))} voxels of 1 x 0.202 x 0.202 µm")
    for path in (stack, iso, zoomed, finest, huge):
        _check_own(path, stack)
    if stack.exists():
        _delete_own_labels(stack)
        checked_destination(stack, Existing(overwrite=True))
        make_folder(str(stack))
        discard(str(stack), ["0"])
    write_image(stack, synthetic_cells(cells=CELLS), grid, name=NAME)
    write_labels(stack, "cells", synthetic_labels(cells=CELLS), grid, title=NAME)
    say("\n1. Isotropic voxels of 1 µm")
    _run(["resample", str(stack), str(iso), "--voxel-size", "1", "--overwrite"], say)
    _run(["check", str(iso), "--source", str(stack)], say)
    say("\n2. The same, zoomed twofold")
    _run(
        [
            "resample",
            str(stack),
            str(zoomed),
            "--voxel-size",
            "1",
            "--zoom",
            "2",
            "--no-labels",
            "--overwrite",
        ],
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
            "--no-labels",
            "--overwrite",
        ],
        say,
    )
    io = StoreIO(threads=2)
    result = open_ome_zarr(huge, io=io)
    size = sum(math.prod(result.level(i).shape) * 2 for i in range(len(result.multiscale.datasets)))
    say(
        f"output {size / 2**20:.0f} MiB ({' x '.join(map(str, result.grid.shape))} and smaller "
        f"levels), {size / peak:.0f} times the memory that was used: peak {peak / 2**20:.0f} of "
        f"{MEMORY_MIB} MiB allowed"
    )
    _run(["check", str(huge), "--source", str(stack)], say)
    draw_picture(stack, finest, base / PICTURE, say=say)
    say("\nIn a browser, both in one space (it needs pip install 'chunkscale[view]'):")
    say("$ " + shlex.join(["chunkscale", "view", str(stack), str(finest), "--labels", "all"]))
    return peak <= MEMORY_MIB * 2**20


def draw_picture(
    stack: Path, finest: Path, picture: Path, *, say: Callable[[str], None] = print
) -> None:
    """Show a stack beside its finest voxels and their labels, or say how to see them.

    Parameters
    ----------
    stack, finest : Path
        OME-Zarr images; the second one has the labels ``cells``.
    picture : Path
        Replaced, if it is there.
    say : callable
        Gets the lines to print.
    """
    labels = finest / "labels" / "cells"
    command = ["show", str(stack), str(finest), str(labels), "--plane", "xz"]
    command += ["--colormap", "magma", "--title", "Before", "--title", "After", "--title", "Labels"]
    command += ["-o", str(picture)]
    if is_installed():
        say("\n5. Look at it: before, after, and the labels, which stay labels")
        _run([*command, "--overwrite"], say)
    else:
        say(
            "\nThere is no picture, because Matplotlib is not installed here. To see one: "
            f"pip install 'chunkscale[plot]', and\n$ {shlex.join(['chunkscale', *command])}"
        )


def _delete_own_labels(stack: Path) -> None:
    """Delete the labels that an earlier demonstration has written, if there are no others."""
    place = stack / "labels"
    if set(contents.names(str(place))) != {"zarr.json", "cells"}:
        return
    try:
        own = open_ome_zarr(place / "cells", io=StoreIO(threads=1)).multiscale.name == NAME
    except ChunkscaleError:
        return
    if own:
        contents.delete_below(str(place))


def _check_own(path: Path, stack: Path) -> None:
    """Refuse to replace an image that no demonstration has made."""
    if not path.exists() or is_blank(str(path)):
        return
    try:
        record = group_attributes(str(path)).get("chunkscale")
        own = source_hash({"chunkscale": record}) == path_hash(normalise(stack))
        own = own or open_ome_zarr(path, io=StoreIO(threads=1)).multiscale.name == NAME
    except ChunkscaleError:
        own = False
    if not own:
        raise DestinationError(
            f"{str(path)!r} exists and is not of this demonstration; choose another folder"
        )
