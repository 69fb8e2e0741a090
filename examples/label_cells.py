"""Count bright objects with Dask: resample lazily, label, and keep the labels as OME-Zarr.

    pip install chunkscale dask-image xarray
    python label_cells.py stack.ome.zarr objects.ome.zarr --voxel-size 0.5um --threshold 500

The isotropic image is never stored: each of its blocks is resampled when dask-image asks for it.
The labels have its voxel size and position. dask-image numbers objects over all blocks at the
end, and holds the labels until then: 4 bytes a voxel.
"""

import argparse
import sys
from pathlib import Path

import chunkscale

try:
    import dask
    import xarray  # noqa: F401  (to_xarray needs it)
    from dask_image.ndmeasure import label
except ImportError as missing:
    sys.exit(f"error: {missing.name} is missing; pip install dask-image xarray")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("out", type=Path, help="a new label image")
    parser.add_argument("--threshold", type=float, required=True, help="objects are brighter")
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    parser.add_argument("--channel", type=int, default=0)
    parser.add_argument("--timepoint", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> str | None:
    """Label the objects, and return what went wrong, if anything."""
    given = arguments(argv)
    if given.out.exists():
        return f"error: {given.out} exists; choose another path, or delete it"
    try:
        image = chunkscale.open_image(given.source)
        lazy = chunkscale.resample_array(image, voxel_size=given.voxel_size, antialias=True)
        at = {"t": given.timepoint, "c": given.channel}
        volume = lazy.to_xarray().isel(at, drop=True, missing_dims="ignore")
        labels, count = label(volume.data > given.threshold)
        print(f"{volume.shape} voxels, {4 * volume.size / 2**30:.2g} GiB of labels in memory")
        labels, count = dask.persist(labels.astype("uint32"), count)  # once for all that follows
        objects = volume.copy(data=labels).assign_attrs(image_type="labels")
        run = chunkscale.resample(objects, given.out, voxel_size="same")
    except (chunkscale.ChunkscaleError, IndexError) as error:
        return f"error: {error}"
    print(f"{int(count)} objects\n{run}")
    return None


if __name__ == "__main__":
    sys.exit(main())
