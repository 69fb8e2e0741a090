"""Files of other formats, told by their names, with the way on."""

from __future__ import annotations

import os

from chunkscale.storage.locations import scheme_of

_CONVERT = (
    "convert it with bioformats2raw (bioformats2raw {name} {stem}.zarr) and give the image in it "
    "({stem}.zarr/0)"
)

_LOADED = "pass it as an array, with source_voxel_size: {}"

_TENSORSTORE = _LOADED.format(
    'tensorstore.open({{"driver": "%s", "kvstore": "file://..."}}).result().read().result().T, '
    "if it fits into memory"
)

_TIFF = (".tif", ".tiff", ".btf", ".tf8")

#: How a name ends -> what such a file is, and how its voxels get here.
_FORMATS = {
    **dict.fromkeys(_TIFF, ("a TIFF file", "download it: they are read from local disks alone")),
    **dict.fromkeys(
        (".czi", ".nd2", ".lif", ".lsm", ".oib", ".oif", ".vsi", ".ims", ".dv", ".mrc", ".svs"),
        ("a microscope's file", _CONVERT),
    ),
    **dict.fromkeys(
        (".h5", ".hdf5", ".he5"),
        ("an HDF5 file", _LOADED.format("dask.array.from_array(h5py.File({name!r})[dataset])")),
    ),
    ".n5": ("an N5 container", _TENSORSTORE % "n5"),
    ".precomputed": ("a Neuroglancer volume", _TENSORSTORE % "neuroglancer_precomputed"),
    **dict.fromkeys(
        (".nii", ".nii.gz"),
        ("a NIfTI file", _LOADED.format("numpy.asarray(nibabel.load({name!r}).dataobj).T")),
    ),
    **dict.fromkeys(
        (".nrrd", ".nhdr"), ("an NRRD file", _LOADED.format("nrrd.read({name!r})[0].T"))
    ),
    ".npy": ("an array of NumPy", _LOADED.format('numpy.load({name!r}, mmap_mode="r")')),
}

#: What is found in the folders of formats that have no end of their own.
_MARKS = {"attributes.json": ".n5", "info": ".precomputed"}


def format_end(name: str) -> str:
    """Return what a name ends with, if it is that of another format; nothing if it is not."""
    ends = sorted(_FORMATS, key=len, reverse=True)
    return next(filter(name.lower().endswith, ends), "")


def other_format(uri: str) -> str:
    """Return what lies at a place that holds no zarr group, and what to do; nothing if unknown."""
    name = uri.rstrip("/").replace(os.sep, "/").rpartition("/")[2]
    end = format_end(name)
    if not end and os.path.isdir(uri):
        end = next((e for mark, e in _MARKS.items() if os.path.isfile(f"{uri}/{mark}")), "")
    if not end or (end in _TIFF and not scheme_of(uri)):  # which is read where it is there
        return ""
    what, remedy = _FORMATS[end]
    return f"it seems to be {what}: {remedy.format(name=name, stem=name.partition('.')[0])}"
