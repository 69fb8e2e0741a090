"""Zip files that are not called so: no path leads into them."""

from __future__ import annotations

import os
import zipfile

from chunkscale.storage.locations import nearest


def unnamed_archive(uri: str) -> str | None:
    """Return the local zip file that a path is, or lies in, where its name does not say so."""
    for place in nearest(uri, len(uri)):
        if os.path.isdir(place):
            break
        # A pipe would be waited for, and a device has no end.
        if os.path.isfile(place) and zipfile.is_zipfile(place):
            return place
    return None


def rename_text(uri: str, archive: str) -> str:
    """Return what is wrong where a zip file is not called one, and what to do."""
    name = os.path.basename(archive)
    return (
        f"{uri!r} {'is' if archive == uri else 'lies in'} a zip file without the ending .ozx or "
        f".zip; rename it (mv {name} {name}.ozx) or make a link to it (ln -s {name} {name}.ozx), "
        "and give that path"
    )
