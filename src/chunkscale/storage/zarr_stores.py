"""Arrays as zarr-python opens them."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal

from chunkscale.errors import MetadataError
from chunkscale.storage.diagnosis import grid_fault, why_unopened
from chunkscale.storage.documents import read_document
from chunkscale.storage.failures import clear_metadata_errors, first_line
from chunkscale.storage.locations import join
from chunkscale.storage.stores import store_of

#: Bytes that no index reaches.
_ENDLESS = 2**63

#: Filters are the whole process': of two threads that set them at once, the one that ends last
#: would put the other's back for good.
filter_lock = threading.Lock()


@contextlib.contextmanager
def muted_zarr() -> Iterator[None]:
    """Mute what zarr-python finds unusual in the files of other writers: no news to a reader.

    It warns in a thread of its own, so that the filter cannot be this thread's alone.
    """
    with filter_lock, warnings.catch_warnings():
        # By module, because other threads' warnings must pass in the meantime.
        for category in (UserWarning, RuntimeWarning):
            warnings.filterwarnings("ignore", category=category, module=r"zarr\.")
        yield


def open_zarr(uri: str, mode: Literal["r", "r+"], zarr_format: Literal[2, 3] | None = None) -> Any:
    import zarr
    from zarr.errors import ContainsGroupError, NodeTypeValidationError

    with clear_metadata_errors(f"array {uri!r}"):
        opened = store_of(uri).zarr_store(uri)
        try:
            with muted_zarr():
                return zarr.open_array(opened, mode=mode, zarr_format=zarr_format)
        except (ContainsGroupError, NodeTypeValidationError) as error:
            if zarr_format is None and read_document(join(uri, ".zarray"))[0] is not None:
                return open_zarr(uri, mode, 2)  # a tool has left the zarr.json of a group beside it
            raise MetadataError(f"{uri!r} is a zarr group where an array should be") from error
        except FileNotFoundError as error:
            raise (store_of(uri).why_missing(uri, opened) or error) from error
        except (OSError, json.JSONDecodeError):
            raise
        except Exception as error:  # zarr has no common base for bad array metadata
            raise MetadataError(
                f"array {uri!r} cannot be opened: {why_unopened(uri, error)}"
            ) from error


def regular_chunks(uri: str, array: Any) -> tuple[int, ...]:
    """Return the shape of the chunks of an array, or refuse it."""
    try:
        chunks = tuple(array.chunks)
    except NotImplementedError as error:
        name = array.metadata.chunk_grid.to_dict()["name"]
        raise MetadataError(f"array {uri!r} cannot be opened: {grid_fault(name)}") from error
    for what, voxels in (("chunks of", chunks), ("the shape", tuple(array.shape))):
        if math.prod(voxels) * array.dtype.itemsize >= _ENDLESS:
            raise MetadataError(
                f"array {uri!r} has {what} {voxels}, which nothing could hold; correct its metadata"
            )
    return chunks


def open_group(uri: str, zarr_format: Literal[2, 3] | None = None) -> Any:
    """Open a group that is to be written to."""
    import zarr

    with clear_metadata_errors(f"{uri!r}"):
        try:
            with muted_zarr():
                return zarr.open_group(
                    store_of(uri).zarr_store(uri),
                    mode="r+",
                    zarr_format=zarr_format,
                    use_consolidated=False,
                )
        except (OSError, json.JSONDecodeError):
            raise
        except Exception as error:  # zarr has no common base for bad group metadata
            raise MetadataError(
                f"the metadata of {uri!r} cannot be understood: {first_line(error)}"
            ) from error
