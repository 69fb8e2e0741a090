"""Whether what was opened is still there, and still the same."""

from __future__ import annotations

import os
from collections.abc import Callable

from chunkscale.errors import AccessDeniedError, MetadataError, SourceNotFoundError
from chunkscale.storage.stores import store_of


def metadata_file(uri: str, zarr_format: int) -> tuple[object, object] | None:
    """Return which file a local array's metadata is, and when it was written.

    In a zip file both are the file's own.
    """
    store = store_of(uri)
    if not store.is_local:
        edition = store.edition(uri)
        return None if edition is None else (edition, edition)
    try:
        found = os.stat(os.path.join(uri, "zarr.json" if zarr_format == 3 else ".zarray"))
    except OSError:
        return None  # whoever reads it finds out
    return (found.st_dev, found.st_ino), found.st_mtime_ns


def fate(uri: str, is_there: Callable[[], bool]) -> str:
    """Say what has become of a node that was opened before; nothing if it is as it was.

    Parameters
    ----------
    uri : str
    is_there : callable
        Reads its metadata afresh, and says whether they are what they were.

    Raises
    ------
    OSError
        If the store does not tell, and may tell another time.
    """
    try:
        return "" if is_there() else "has been replaced"
    except AccessDeniedError:
        raise
    except SourceNotFoundError as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError | None):
            raise
        return "has gone"
    except MetadataError:
        return "has been damaged"
