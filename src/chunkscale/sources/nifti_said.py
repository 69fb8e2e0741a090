"""What the header of a NIfTI file says beside axes and positions, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid

_DIRECTIONS = {
    "x": "left-to-right",
    "y": "posterior-to-anterior",
    "z": "inferior-to-superior",
}

#: How slices were acquired, which says nothing of those of a resampled image.
_SLICES = ("dim_info", "slice_code", "slice_duration", "slice_start", "slice_end")


def unsized(
    path: str, image: Any, shape: Sequence[int], order: Sequence[int], given: Mapping[str, float]
) -> Iterator[Notice]:
    """Yield what stands for voxel sizes that a file says to be 0; nibabel makes 1 of them.

    Parameters
    ----------
    path : str
    image : nibabel.Nifti1Pair
    shape, order : sequence of int
        Voxels by axis of the file, and which of these x, y and z are.
    given : mapping of str to float
        Those that the user gives, by axis.

    Raises
    ------
    OptionError
        If that concerns voxels with neighbours, and the user gives no size for them.
    """
    if image.get_sform(coded=True)[0] is not None:
        return  # whose affine has the sizes
    kind = type(image)
    place = image.file_map["header" if "header" in image.file_map else "image"]
    with place.get_prepare_fileobj("rb") as file:
        stored = kind.header_class.from_fileobj(file, check=False)
    pixdim = [*stored["pixdim"][1 : 1 + len(image.shape[:3])], 0.0, 0.0][:3]
    unsaid = [(n, i) for n, i in zip("zyx", reversed(order), strict=True) if not pixdim[i]]
    asked = [name for name, i in unsaid if shape[i] > 1]
    if set(asked) - set(given):
        example = ",".join(f"{name}={given.get(name, 1):g}" for name in asked)
        raise OptionError(
            f"{path!r} says a voxel size of 0 along {', '.join(asked)} (pixdim); give "
            f"source_voxel_size={example!r} (--source-voxel-size {example}) with the right numbers"
        )
    for name in (n for n, i in unsaid if shape[i] == 1 and n not in given):
        text = f"it has one voxel along {name} of unknown size; 1 is used"
        yield Notice("metadata", text)


def left_behind(header: Any) -> Iterator[Notice]:
    """Yield what an output has no place for."""
    if header.extensions:
        codes = ", ".join(str(extension.get_code()) for extension in header.extensions)
        yield Notice("lost", f"its header extensions (codes {codes}) are left out")
    if slices := [key for key in _SLICES if key in header and header[key].item()]:
        text = f"how slices were acquired ({', '.join(slices)}) is left out"
        yield Notice("lost", text)


def attributes_of(header: Any, grid: VoxelGrid) -> dict[str, Any]:
    """Return what a grid does not hold: the directions of its axes, and what NGFF has no place for.

    Directions are those of RFC-4, which OME-Zarr 0.6 knows, and 0.5 keeps.
    """
    texts = {
        key: bytes(header[key].tobytes()).rstrip(b"\0").decode("latin-1").strip()
        for key in ("descrip", "intent_name", "aux_file")
    }
    codes = (
        *("intent_code", "intent_p1", "intent_p2", "intent_p3"),
        *("qform_code", "sform_code", "cal_min", "cal_max"),
    )
    numbers = {key: header[key].item() for key in codes}
    facts = {key: value for key, value in (texts | numbers).items() if value}
    found: dict[str, Any] = {"nifti": facts} if facts else {}
    if facts.get("sform_code") or facts.get("qform_code"):
        axes = [
            {"name": a.name, "orientation": {"type": "anatomical", "value": _DIRECTIONS[a.name]}}
            for a in grid.axes
            if a.kind == "space"
        ]
        found["ome"] = {"version": "0.5", "multiscales": [{"axes": axes}]}
    return found
