"""Whose arrays say where their voxels are. To add a library, write its door and list it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chunkscale.sources.ngff_images import placed_ngff_image
from chunkscale.sources.placed import Placed
from chunkscale.sources.simpleitk import placed_itk_image
from chunkscale.sources.xarrays import placed_data_array

#: Each takes an object and what its axes are said to be, and returns what the object says, or
#: None if it is not for it. None of them imports its library to find that out.
DOORS: tuple[Callable[[object, Sequence[str] | None], Placed | None], ...] = (
    placed_data_array,
    placed_ngff_image,
    placed_itk_image,
)


def find_placed(given: object, axes: Sequence[str] | None = None) -> Placed | None:
    """Return what an array of another library says of itself; None for any other object."""
    return next((found for door in DOORS if (found := door(given, axes)) is not None), None)
