"""Where an output was made from, as it may be published: by name, and not by a path.

A path on somebody's disk says who that is and how their folders are called. What is written while
a run works has all of it; what is published has the name of the source, and a hash by which the
path is known again. The hash goes along the path, so that of something below a place follows from
that of the place.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

#: Stores and files that something may lie in, whose name tells more than its own.
_STORE = re.compile(r"\.(zarr|ozx|zip|tiff?|lif|czi|nd2)$", re.IGNORECASE)


def path_hash(path: str, start: str = "") -> str:
    """Return the hash of a path, or of one below a place whose hash is `start`.

    Examples
    --------
    >>> path_hash("/data/plate.zarr/B/03") == path_hash("B/03", path_hash("/data/plate.zarr"))
    True
    """
    for part in path.split("/"):
        start = hashlib.sha256(f"{start}/{part}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return start


def public_name(path: str) -> str:
    """Return what a local source is called: the end of its path, from the store or file on.

    Examples
    --------
    >>> public_name("/home/me/stack.ome.zarr"), public_name("/home/me/plate.zarr/B/03/0")
    ('stack.ome.zarr', 'plate.zarr/B/03/0')
    >>> public_name("/home/me/images")
    'images'
    """
    parts = _plain(path).split("/")
    stores = [i for i, part in enumerate(parts) if _STORE.search(part)]
    return "/".join(parts[stores[-1] if stores else -1 :])


def published(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an output without the path of a local source."""
    source = record.get("source")
    if "source_hash" in record or not isinstance(source, str) or not os.path.isabs(source):
        return dict(record)
    known = {"source": public_name(source), "source_hash": path_hash(_plain(source))}
    found: dict[str, Any] = {}
    for name, value in record.items():  # side by side, so that who publishes again writes the same
        found |= known if name == "source" else {name: value}
    return found


def public_text(text: str, source: str) -> str:
    """Return a message about a source without the folder that this lies in.

    Examples
    --------
    >>> public_text("'/home/me/a.zarr/OME' is left out", "/home/me/a.zarr")
    "'a.zarr/OME' is left out"
    >>> public_text("'/data/home/me/a.zarr' is another", "/home/me/a.zarr")
    "'/data/home/me/a.zarr' is another"
    """
    folder = _plain(source).removesuffix(public_name(source)) if os.path.isabs(source) else ""
    return re.sub(rf"(?<![\w.-]){re.escape(folder)}", "", text) if folder.strip("/") else text


def source_hash(attributes: Mapping[str, Any]) -> str:
    """Return the hash of what an output says that it was made from; nothing if it does not."""
    record = attributes.get("chunkscale")
    if not isinstance(record, Mapping):
        return ""
    stated, source = record.get("source_hash"), record.get("source")
    if isinstance(stated, str) and stated:
        return stated
    return path_hash(_plain(source)) if isinstance(source, str) and source else ""


def _plain(path: str) -> str:
    return path.replace("\\", "/").rstrip("/")
