"""The door to spatialdata: where its images lie, which their attribute "transform" says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkscale.errors import OptionError
from chunkscale.geometry.grid import VoxelGrid

#: Where spatialdata keeps transformations, by coordinate system.
KEY = "transform"


class Placement:
    """The place of an image of spatialdata in its one coordinate system.

    Transformations begin at voxel indices, with the centre of the first voxel at 0.5, whatever
    the coordinates are. So those of a result are others, and its coordinates are indices again.
    """

    def __init__(self, system: str, axes: Sequence[str], matrix: Any) -> None:
        self.system, self._axes = system, tuple(axes)
        self.spacing = {name: float(matrix[i, i]) for i, name in enumerate(axes)}
        self.translation = {
            name: float(matrix[i, -1]) + self.spacing[name] / 2 for i, name in enumerate(axes)
        }

    def transformations(self, grid: VoxelGrid) -> dict[str, Any]:
        """Return the transformation of an image on a grid."""
        from spatialdata.transformations import Scale, Sequence, Translation

        places = [grid.position(name) for name in self._axes]
        sizes = [grid.voxel_size[i] for i in places]
        edges = [grid.translation[i] - grid.voxel_size[i] / 2 for i in places]
        steps = [Scale(sizes, axes=self._axes), Translation(edges, axes=self._axes)]
        return {self.system: Sequence(steps)}


def placement(given: Any, dims: Mapping[str, Any]) -> Placement | None:
    """Return where spatialdata has an image; None for an array that it has not transformed.

    Parameters
    ----------
    given : xarray.DataArray
    dims : mapping
        Dimensions by the letters of their axes.

    Raises
    ------
    OptionError
        If it lies in several systems, is turned or mirrored, or is a slice of an image.
    """
    found = given.attrs.get(KEY)
    if not isinstance(found, Mapping) or not all(map(_is_transformation, found.values())):
        return None
    if len(found) != 1:
        names = ", ".join(map(repr, found))
        raise OptionError(
            f"the image of spatialdata lies in {len(found)} coordinate systems ({names}); keep "
            "one, like array.assign_attrs(transform={'NAME': array.attrs['transform']['NAME']})"
        )
    ((system, transformation),) = found.items()
    axes = tuple(name for name in "xyz" if name in dims)
    matrix = np.asarray(transformation.to_affine_matrix(axes, axes))
    size = np.diag(matrix)[:-1]
    if np.any(matrix[:-1, :-1] != np.diag(size)) or np.any(size <= 0):
        raise OptionError(
            f"the image of spatialdata is turned, sheared or mirrored in {system!r}: "
            f"{matrix[:-1].tolist()}; transform it first, with spatialdata.transform(array, "
            f"to_coordinate_system={system!r})"
        )
    for name in axes:
        stated = given.coords.get(dims[name])
        if stated is not None and not np.array_equal(stated, np.arange(len(stated)) + 0.5):
            raise OptionError(
                f"the coordinates of the image of spatialdata along {name} are not those of its "
                "voxels, 0.5, 1.5 and so on, at which its transformations begin; to take it as the "
                "coordinates say, leave them out: array.assign_attrs(transform=None)"
            )
    return Placement(str(system), axes, matrix)


def _is_transformation(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "spatialdata"
