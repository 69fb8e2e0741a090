"""The door to ngff-zarr: its images in memory, which have a scale and a translation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import ngff_unit
from chunkscale.ome.display import shown_channels
from chunkscale.sources.foreign import plain_array
from chunkscale.sources.placed import Placed, axis_names, canonical

WHAT = "ngff_zarr.NgffImage"


def placed_ngff_image(given: Any, axes: Sequence[str] | None) -> Placed | None:
    """Return what an ``NgffImage`` says, or the first of ``NgffMultiscales``; None for all else."""
    if not type(given).__module__.startswith("ngff_zarr."):
        return None
    if hasattr(given, "images") and hasattr(given, "metadata"):
        image = given.images[0]
        more = _shown(given.metadata)
        return _placed(image, axes, more, dict(given.root_attributes or {}))
    if hasattr(given, "dims") and hasattr(given, "scale"):
        return _placed(given, axes, {}, {})
    raise OptionError(
        f"the source is a {type(given).__name__} of ngff_zarr, which is not supported; give an "
        "NgffImage or NgffMultiscales"
    )


def _shown(metadata: Any) -> dict[str, Any]:
    """Return how channels are shown, as "omero" of the metadata has it."""
    omero = getattr(metadata, "omero", None)
    if not dataclasses.is_dataclass(omero) or isinstance(omero, type):
        return {}
    return {"omero": dataclasses.asdict(omero)}


def _placed(
    image: Any, axes: Sequence[str] | None, shown: Mapping[str, Any], beside: Mapping[str, Any]
) -> Placed:
    names = axis_names(WHAT, image.dims, axes)
    order = canonical(list(names.values()))
    moved = [list(names.values()).index(name) for name in order]
    data = plain_array(image.data, on_gpu=True)
    dims = {name: dim for dim, name in names.items()}
    units = image.axes_units or {}
    placed = [name for name in order if name != "c"]
    listed = list(image.channel_names or ())
    # Channels are shown as the multiscales say, or else as the image does.
    channels = shown or shown_channels(listed, list(image.channel_colors or ())[: len(listed)])
    unset = [field for field in ("axes_orientations", "axes_types") if getattr(image, field, None)]
    text = f"{' and '.join(unset)} of the {WHAT} cannot be stored in the output"

    def wrap(array: Any, grid: VoxelGrid) -> Any:
        back = [order.index(name) for name in names.values()]
        spatial = [(dims[grid.axes[i].name], i) for i in grid.spatial]
        units = {dim: grid.axes[i].unit for dim, i in spatial if grid.axes[i].unit}
        return dataclasses.replace(
            image,
            data=array if moved == sorted(moved) else array.transpose(back),
            scale={**image.scale, **{dim: grid.voxel_size[i] for dim, i in spatial}},
            translation={**image.translation, **{dim: grid.translation[i] for dim, i in spatial}},
            axes_units={**(image.axes_units or {}), **units} or None,
            computed_callbacks=[],
        )

    return Placed(
        what=WHAT,
        array=data if moved == sorted(moved) else data.transpose(moved),
        axes="".join(order),
        spacing={n: float(image.scale[dims[n]]) for n in placed if dims[n] in image.scale},
        translation={
            n: float(image.translation[dims[n]]) for n in placed if dims[n] in image.translation
        },
        units={n: ngff_unit(str(units[dims[n]])) for n in placed if units.get(dims[n])},
        # "image" is what every one is called that nobody has named.
        name=None if image.name == "image" else image.name,
        attributes={**beside, **channels},
        lost=(Notice("lost", text),) if unset else (),
        wrap=wrap,
    )
