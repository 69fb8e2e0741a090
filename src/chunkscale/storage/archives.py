"""Zip files, which hold images and are none of the places that are read from or written to."""

from __future__ import annotations

import os
import zipfile

from chunkscale.storage.locations import nearest
from chunkscale.storage.stores import store_of

ENDS = (".zip", ".ozx")


def archive_in(uri: str) -> str | None:
    """Return the zip file that a location is, or lies in; in other stores names tell."""
    local = store_of(uri).is_local
    for place in nearest(uri, len(uri)):
        if local and os.path.isdir(place):
            break
        if zipfile.is_zipfile(place) if local else place.lower().endswith(ENDS):
            return place
    return None


def unpack_text(uri: str, archive: str) -> str:
    """Return what is wrong where a zip file was given for an image, and what to do."""
    name = os.path.basename(archive)
    folder = os.path.splitext(name)[0] + ".zarr"
    where = "" if store_of(uri).is_local else "download it, "
    return (
        f"{uri!r} {'is' if archive == uri else 'lies in'} a zip file, which is not read; {where}"
        f"unpack it (unzip {name} -d {folder}) and give the path of the folder"
    )
