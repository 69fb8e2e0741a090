"""Make a layer of napari isotropic.

In napari's console, with the layer selected:

    %run napari_layer.py
    viewer.add_layer(isotropic(viewer.layers.selection.active))

A NumPy layer is computed at once, a lazy one (Dask) when it is looked at. The layer must not be
rotated; of several levels the finest is taken.
"""

import chunkscale


def isotropic(layer, voxel_size: float | None = None):
    """Return a new layer with voxels of one size, at the same place; default: the finest."""
    labels = type(layer).__name__ == "Labels"
    space = slice(-min(layer.ndim, 3), None)  # z, y, x; time stays as it is
    scale = layer.scale.copy()
    scale[space] = voxel_size or scale[space].min()
    voxels = chunkscale.resample_array(
        layer.data[0] if layer.multiscale else layer.data,
        source_voxel_size=layer.scale[space].tolist(),
        voxel_size=scale[space].tolist(),
        method="nearest" if labels else "linear",
        antialias=not labels,
    )
    # The outer edge stays where it is, so the centre of the first voxel moves.
    return type(layer)(
        voxels,
        name=f"{layer.name}, isotropic",
        scale=scale,
        translate=layer.translate + (scale - layer.scale) / 2,
        units=layer.units,
    )
