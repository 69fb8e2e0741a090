"""The door to SimpleITK: images in memory, with a spacing, an origin and a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.sources.placed import Placed, axis_names

WHAT = "SimpleITK.Image"


class _View:
    """The voxels of an image, which lives as long as they are used."""

    def __init__(self, image: Any) -> None:
        import SimpleITK

        view = SimpleITK.GetArrayViewFromImage(image)
        self.image, self.__array_interface__ = image, view.__array_interface__


def placed_itk_image(given: Any, axes: Sequence[str] | None) -> Placed | None:
    """Return what an image of SimpleITK says; None for what is none.

    Its vectors are channels. Its numbers are in the order x, y, z, and in millimetres by
    convention, which they do not say.

    Raises
    ------
    OptionError
        If its axes are turned or mirrored; for label maps, and images of ITK itself.
    """
    module = type(given).__module__.partition(".")[0]
    if module in ("itk", "_itkImagePython") or type(given).__name__.startswith("itkImage"):
        raise OptionError(
            "the source is an image of itk, which is not supported; give "
            "itk.xarray_from_image(image)"
        )
    if module != "SimpleITK" or not hasattr(given, "GetSpacing"):
        return None
    if (kind := given.GetPixelIDTypeAsString()).startswith("label of"):
        # To look at its voxels would end the process.
        raise OptionError(
            f"the {WHAT} is a label map ({kind}), which has no voxels; convert it to an image "
            "first, SimpleITK.LabelMapToLabel(image), and resample that with method='nearest'"
        )
    count = given.GetDimension()
    direction = np.reshape(given.GetDirection(), (count, count))
    if not np.allclose(direction, np.eye(count), rtol=0, atol=1e-6):
        raise OptionError(
            f"the {WHAT} has the direction {direction.tolist()}, but images are resampled along "
            "their axes; reorient it first, like SimpleITK.DICOMOrient(image, 'LPS') if it is "
            "only turned by right angles"
        )
    names = "xyzt"[:count][::-1]
    vectors = given.GetNumberOfComponentsPerPixel() > 1
    array: NDArray[Any] = np.asarray(_View(given))
    if vectors:
        array, names = np.moveaxis(array, -1, 0), f"c{names}"
    axis_names(WHAT, names, axes)  # refuses other axes
    keys = list(given.GetMetaDataKeys())
    text = f"the metadata {', '.join(keys[:8])} of the {WHAT} cannot be stored in OME-Zarr"
    return Placed(
        what=WHAT,
        array=array,
        axes=names,
        spacing=dict(zip("xyzt", given.GetSpacing(), strict=False)),
        translation=dict(zip("xyzt", given.GetOrigin(), strict=False)),
        lost=(Notice("lost", text),) if keys else (),
        wrap=_Wrap(given),
    )


class _Wrap:
    """Makes the image of a result, with the metadata of before."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def __call__(self, array: NDArray[Any], grid: VoxelGrid) -> Any:
        import SimpleITK

        vectors = grid.axes[0].name == "c"
        moved = np.ascontiguousarray(np.moveaxis(array, 0, -1)) if vectors else array
        image = SimpleITK.GetImageFromArray(moved, isVector=vectors)
        first = 1 if vectors else 0
        image.SetSpacing(grid.voxel_size[first:][::-1])
        image.SetOrigin(grid.translation[first:][::-1])
        for key in self.given.GetMetaDataKeys():
            image.SetMetaData(key, self.given.GetMetaData(key))
        return image
