"""Dialects of makers of microscopes and scanners: the few whose voxel sizes are certain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chunkscale.errors import Notice
from chunkscale.geometry.units import Length
from chunkscale.ome.display import number
from chunkscale.sources.tiff.said import Said

#: Returns voxel sizes by axis, as numbers in a unit: whatever is said, or nothing of an axis.
Sizes = Callable[[Any], tuple[Mapping[str, object], str]]


def _aperio(tif: Any) -> tuple[Mapping[str, object], str]:
    text = tif.pages.first.description
    said = dict(pair.split("=", 1) for pair in text.replace(" ", "").split("|") if "=" in pair)
    return dict.fromkeys("yx", said.get("MPP")), "micrometer"


def _zeiss(tif: Any) -> tuple[Mapping[str, object], str]:
    return {axis: tif.lsm_metadata.get(f"VoxelSize{axis.upper()}") for axis in "zyx"}, "meter"


def _fei(tif: Any) -> tuple[Mapping[str, object], str]:
    scan = tif.fei_metadata.get("Scan", {})
    return {"y": scan.get("PixelHeight"), "x": scan.get("PixelWidth")}, "meter"


#: What tifffile calls a dialect -> what people call it, and what reads its voxel sizes, if
#: anything does.
_DIALECTS: dict[str, tuple[str, Sizes | None]] = {
    "svs": ("Aperio SVS", _aperio),
    "lsm": ("Zeiss LSM", _zeiss),
    "fei": ("FEI/Thermo Fisher", _fei),
    "ndpi": ("Hamamatsu NDPI", None),
    "scn": ("Leica SCN", None),
    "bif": ("Ventana BIF", None),
    "qpi": ("PerkinElmer QPTIFF", None),
    "stk": ("MetaMorph STK", None),
    "fluoview": ("Olympus FluoView", None),
    "scanimage": ("ScanImage", None),
    "micromanager": ("Micro-Manager", None),
    "sis": ("Olympus SIS", None),
    "philips": ("Philips", None),
    "gdal": ("GDAL", None),
    "geotiff": ("GeoTIFF", None),
}

_RESOLUTION = {2: "inch", 3: "centimeter"}


def vendor_said(tif: Any, index: int) -> Said | None:
    """Return what a file says in the dialect of its maker; None if it is in none that is known.

    Only the first image of a file is what its sizes speak of: others are overviews.
    """
    flag = next((f for f in _DIALECTS if getattr(tif, f"is_{f}", False)), None)
    if flag is None:
        return None
    maker, read = _DIALECTS[flag]
    stated, unit = ({}, "") if read is None or index else read(tif)
    sizes = {axis: _micrometers(value, unit) for axis, value in stated.items()}
    kept = {axis: size for axis, size in sizes.items() if size is not None}
    what = "only voxel sizes" if kept else "voxels alone"
    text = f"of {maker}'s metadata {what} are used; all else is left out"
    return Said(
        sizes=kept,
        units=dict.fromkeys(kept, "micrometer"),
        name=tif.series[index].name or None,
        origin=f"a {maker} file{_hint(tif.series[index].keyframe)}",
        notices=(Notice("lost", text),),
    )


def _micrometers(value: object, unit: str) -> float | None:
    size = number(value)
    if size is None or size <= 0:
        return None
    return Length(float(f"{size:.12g}"), unit).in_unit("micrometer")


def _hint(page: Any) -> str:
    """Return what the resolution tags of a page would say, which not all makers mean."""
    unit = _RESOLUTION.get(int(page.tags.valueof(296, 1)))
    found = []
    for axis, code in (("y", 283), ("x", 282)):
        dots, per = page.tags.valueof(code) or (0, 0)
        if unit and dots and per:
            size = Length(per / dots, unit).in_unit("micrometer")
            found.append(f"{axis}={size:.6g}")
    return f", whose resolution tags say {', '.join(found)} µm," if found else ""
