"""Which of a group's metadata documents counts, where there are two."""

from __future__ import annotations

from typing import Any, NamedTuple

from chunkscale.errors import Notice
from chunkscale.ome.versions import holds_ngff
from chunkscale.storage.groups import attributes_by_format

_FILES = {2: ".zattrs (with .zgroup)", 3: "zarr.json"}


class Document(NamedTuple):
    """The attributes that describe a group, and what there is to say of others beside them."""

    attributes: dict[str, Any]
    zarr_format: int
    notices: tuple[Notice, ...] = ()


def group_document(uri: str) -> Document:
    """Read the attributes of a group: those that describe an image or a collection.

    A tool that opens a zarr 2 group for writing may leave an empty zarr.json there, and the other
    way round. Where both describe something the newer format counts, as it does for zarr.

    Raises
    ------
    SourceNotFoundError
        If there is no zarr group.
    """
    found = attributes_by_format(uri)
    telling = [zarr_format for zarr_format in found if holds_ngff(found[zarr_format])]
    taken = (telling or list(found))[0]
    notices = [
        Notice("metadata", _beside(uri, taken, other, also=other in telling))
        for other in found
        if other != taken and telling and not (other in telling and found[other] == found[taken])
    ]
    return Document(found[taken], taken, tuple(notices))


def _beside(uri: str, taken: int, other: int, *, also: bool) -> str:
    says = "describes another image" if also else "describes no image"
    return (
        f"{uri!r} has metadata of both zarr formats: {_FILES[taken]} is taken, and "
        f"{_FILES[other]}, which {says}, is not; other programs may take that one, so delete the "
        "one that does not belong there"
    )
