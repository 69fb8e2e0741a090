"""The table of formats: what is read, with what, and the way on for all else.

The one place that `chunkscale formats`, docs/FORMATS.md and refusals take it from. It only
describes: who opens what is listed in `opening` and `file_formats`.
"""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from chunkscale.errors import OptionError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: what is read of it, or the way on.

    Parameters
    ----------
    name : str
        As a sentence has it, with its article.
    ends : tuple of str
        What names of its files end with.
    marks : tuple of (int, bytes)
        What its files have at an offset, any of them; nothing if that is also in others.
    reader : str
        What reads it; nothing if it is not read.
    modules : tuple of str
        What has to be importable for that.
    install : str
        What pip takes to get that.
    lazily : str
        Whether parts can be read alone.
    keeps : str
        What of its metadata an output has.
    instead : str
        The way on where it is not read.
    """

    name: str
    ends: tuple[str, ...] = ()
    marks: tuple[tuple[int, bytes], ...] = ()
    reader: str = ""
    modules: tuple[str, ...] = ()
    install: str = ""
    lazily: str = "no"
    keeps: str = ""
    instead: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether it can be read here."""
        return bool(self.reader) and all(find_spec(module) for module in self.modules)

    @property
    def remedy(self) -> str:
        """What to install, and what to do otherwise; `instead` has {name} and {stem}."""
        ways = [f"install its reader (pip install {self.install})"] * bool(self.install)
        return ", or ".join(filter(None, [*ways, self.instead]))

    def as_dict(self) -> dict[str, Any]:
        """Return the row of the table as JSON values."""
        return {
            "name": self.name.removeprefix("an ").removeprefix("a "),
            "ends": list(self.ends),
            "reader": self.reader or None,
            "installed": self.is_installed,
            "install": self.install or None,
            "lazily": self.lazily if self.reader else None,
            "keeps": self.keeps or None,
            "instead": self.instead.format(name="FILE", stem="FILE") or None,
        }


def _by_bioio(name: str, end: str, plugin: str, *marks: tuple[int, bytes]) -> Format:
    return Format(
        name=name,
        ends=(end,),
        marks=marks,
        reader=plugin,
        modules=("bioio", plugin.replace("-", "_")),
        install=f"'chunkscale[bioio]' {plugin}",
        lazily="by planes",
        keeps="voxel size (µm), channel names, time step; scenes are images",
        instead=_CONVERT,
    )


#: What is read, and written: folders of Zarr.
_ZARR = (
    Format(
        name="OME-Zarr 0.1 to 0.6",
        ends=(".zarr",),
        reader="chunkscale",
        lazily="by chunks",
        keeps="axes, voxel size, unit, translation, channels, labels, plates, all attributes",
    ),
    Format(
        name="OME-Zarr in a zip file",
        ends=(".ozx", ".zip"),
        reader="chunkscale",
        lazily="by chunks",
        keeps="the same",
    ),
)

#: Files of other formats that are read.
READ = (
    Format(
        name="a TIFF file",
        ends=(".tif", ".tiff", ".btf", ".tf8", ".tf2", ".svs", ".ndpi", ".scn"),
        marks=((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
        reader="tifffile",
        modules=("tifffile",),
        lazily="by tiles or strips",
        keeps=(
            "OME-XML and ImageJ: voxel size, unit, channels and colors, time step, series; "
            "SVS, LSM and FEI: voxel size"
        ),
        instead=_CONVERT,
    ),
    Format(
        name="a NIfTI file",
        ends=(".nii", ".nii.gz", ".hdr", ".img"),
        marks=((344, b"n+1\0"), (344, b"ni1\0"), (4, b"n+2\0\r\n\x1a\n"), (4, b"ni2\0\r\n\x1a\n")),
        reader="nibabel",
        modules=("nibabel",),
        install="'chunkscale[nifti]'",
        lazily="yes; .gz is unpacked into a temporary file",
        keeps="voxel size, unit, position and direction (RAS+), scaling, time step, label intent",
        instead=_LOADED.format("numpy.asarray(nibabel.load({name!r}).dataobj).T"),
    ),
    _by_bioio("a Zeiss CZI file", ".czi", "bioio-czi", (0, b"ZISRAWFILE")),
    _by_bioio("a Leica LIF file", ".lif", "bioio-lif", (0, b"\x70\0\0\0")),
    _by_bioio("a Nikon ND2 file", ".nd2", "bioio-nd2", (0, b"\xda\xce\xbe\x0a")),
    _by_bioio("a DeltaVision file", ".dv", "bioio-dv"),
    Format(
        name="a picture",
        ends=(".png", ".jpg", ".jpeg", ".gif", ".bmp"),
        marks=((0, b"\x89PNG\r\n"), (0, b"\xff\xd8\xff"), (0, b"GIF8")),
        reader="bioio-imageio",
        modules=("bioio", "bioio_imageio"),
        install="'chunkscale[bioio]' bioio-imageio",
        lazily="no",
        keeps="nothing; it has no voxel size",
        instead=_LOADED.format("numpy.asarray(PIL.Image.open({name!r})), if it is grey"),
    ),
)

#: What is not read.
_OTHERS = (
    Format(
        name="a microscope's file",
        ends=(".lsm", ".oib", ".oif", ".vsi", ".ims", ".mrc"),
        instead=_CONVERT,
    ),
    Format(
        name="an HDF5 file",
        ends=(".h5", ".hdf5", ".he5"),
        marks=((0, b"\x89HDF\r\n\x1a\n"),),
        instead=_LOADED.format("dask.array.from_array(h5py.File({name!r})[dataset])"),
    ),
    Format(name="an N5 container", ends=(".n5",), instead=_TENSORSTORE % "n5"),
    Format(
        name="a Neuroglancer volume",
        ends=(".precomputed",),
        instead=_TENSORSTORE % "neuroglancer_precomputed",
    ),
    Format(
        name="an NRRD file",
        ends=(".nrrd", ".nhdr"),
        marks=((0, b"NRRD000"),),
        instead=_LOADED.format("nrrd.read({name!r})[0].T"),
    ),
    Format(
        name="an array of NumPy",
        ends=(".npy",),
        marks=((0, b"\x93NUMPY"),),
        instead=_LOADED.format('numpy.load({name!r}, mmap_mode="r")'),
    ),
)

FORMATS = (*_ZARR, *READ, *_OTHERS)

#: What is found in the folders of formats that have no end of their own.
_INSIDE = {"attributes.json": ".n5", "info": ".precomputed"}

#: All marks lie in so many bytes.
_HEAD = 512


def _by_end(uri: str) -> Format | None:
    """Return the format that a name says, by its longest end."""
    name = uri.rstrip("/").lower()
    found = [(len(e), f) for f in (*READ, *_OTHERS) for e in f.ends if name.endswith(e)]
    return max(found, key=operator.itemgetter(0), default=(0, None))[1]


def format_end(name: str) -> str:
    """Return what a name ends with, if it is that of another format; nothing if it is not."""
    found = _by_end(name)
    ends = filter(name.lower().endswith, found.ends if found else ())
    return max(ends, key=len, default="")


def _by_content(path: str) -> Format | None:
    """Return the format of a local file, by how it begins; that of a folder by what lies in it."""
    if os.path.isdir(path):
        end = next((e for mark, e in _INSIDE.items() if os.path.isfile(f"{path}/{mark}")), "")
        return _by_end(end)
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    marks = ((f, at, mark) for f in FORMATS for at, mark in f.marks)
    return next((f for f, at, mark in marks if head[at : at + len(mark)] == mark), None)


def belied(path: str) -> str:
    """Return what a local file is, and what to do, where its name says something else."""
    named, found = _by_end(path), _by_content(path)
    if found is None or found is named or (named is not None and not named.marks):
        return ""
    name = os.path.basename(path)
    lies = f"it is named like {named.name} and is" if named else "by its content it is"
    if found.is_installed:
        return f"{lies} {found.name}: rename it to {name.partition('.')[0] + found.ends[0]!r}"
    return f"{lies} {found.name}: {_way(found, name)}"


def other_format(uri: str) -> str:
    """Return what lies at a place that no reader takes, and what to do; nothing if unknown."""
    named, local = _by_end(uri), not scheme_of(uri)
    if local and (lies := belied(uri)):
        return lies
    if named is None or (local and not os.path.exists(uri)):
        return ""
    if local and not os.path.isfile(uri) and named in READ:
        what = "a folder" if os.path.isdir(uri) else "a pipe or a device"
        return f"it is named like {named.name} and is {what}; give the path of the file"
    if named.reader and not local:
        return f"it seems to be {named.name}, which is read from a local path: download it"
    name = uri.rstrip("/").replace(os.sep, "/").rpartition("/")[2]
    return f"it seems to be {named.name}: {_way(named, name)}"


def _way(found: Format, name: str) -> str:
    """Return how the voxels of a file get here."""
    return found.remedy.format(name=name, stem=name.partition(".")[0])


def way_around(path: str) -> str:
    """Return what to do with a file that its reader cannot read; nothing if that is unknown."""
    found = _by_end(path)
    name = os.path.basename(path)
    return found.instead.format(name=name, stem=name.partition(".")[0]) if found else ""


def refuse_missing(path: str, end: str, *, what: str = "") -> None:
    """Refuse a file whose reader is not installed, and say how to install it.

    Parameters
    ----------
    path : str
    end : str
        What names of such files end with.
    what : str
        What it is, if that is known better than by its name.

    Raises
    ------
    OptionError
    """
    found = _by_end(end)
    if found is None or found.is_installed:
        return
    if lies := belied(path):
        raise OptionError(f"{path!r} is not taken: {lies}")
    raise OptionError(f"{path!r} is {what or found.name}: {_way(found, os.path.basename(path))}")
