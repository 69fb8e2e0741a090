"""What stores raise, as errors of this package: named, without secrets, and with a remedy."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    CorruptChunkError,
    MetadataError,
    SourceNotFoundError,
)
from chunkscale.storage.locations import bucket_of, in_bucket, is_remote


class StoreError(OSError):
    """An object store did not do what it was asked for.

    Attributes
    ----------
    transient : bool
        Whether it may do it another time.
    """

    def __init__(self, message: str, transient: bool) -> None:
        super().__init__(message, transient)
        self.transient = transient

    def __str__(self) -> str:
        return str(self.args[0])


#: What a store says of a bucket that is not there.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


@contextlib.contextmanager
def clear_bucket_errors(uri: str) -> Iterator[None]:
    """Turn what obstore raises into errors that name the location and hold no secrets.

    Its own hold the server's whole answer, which may repeat what was signed.
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        text = str(error)
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        missing, kind = isinstance(error, FileNotFoundError), type(error).__name__
    else:
        return
    code = next(iter(re.findall(r"<Code>(\w+)</Code>", text)), "")
    status = next(iter(re.findall(r"status code: (\d+[ \w]*)", text)), "")
    reason = " ".join(part for part in (status.strip(), code) if part)
    if code in _NO_BUCKET:
        raise SourceNotFoundError(
            f"the {bucket_of(uri)} does not exist ({uri!r}); check its name and the endpoint"
        )
    if missing:
        raise FileNotFoundError(f"{uri!r} does not exist")
    if denied or status.startswith(("401", "403")):
        raise denial(uri, reason)
    if status.startswith("3") or "redirect" in text:
        reason = f"{reason or 'it redirects'}: the bucket is in another region; set the region"
    trouble = reason or next(iter(re.findall(r"HTTP error: (.*)", text)), kind)
    # A refusal that is none of the above stays one.
    refused = status.startswith(("3", "4")) and not status.startswith(("408", "409", "429"))
    raise StoreError(f"{uri!r} cannot be reached: {trouble}", not refused)


def denial(uri: str, reason: str = "") -> AccessDeniedError:
    """Return the error that says what to set where access was denied."""
    remedies = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the storage option profile; "
        "for a public bucket the storage option anon",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket the storage option anon",
        "az": "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN; for a public container "
        "the storage option anon",
    }
    said = f" ({reason})" if reason else ""
    return AccessDeniedError(
        f"access to {uri!r} was denied{said}; {remedies[uri.partition('://')[0]]}"
    )


#: Asking again does not help.
_PERMANENT = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT,
    errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EFBIG, errno.ELOOP,
}  # fmt: skip

BUSY_CODES = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")

_TRANSIENT_CODES = (*BUSY_CODES, "INTERNAL", "UNKNOWN")


@contextlib.contextmanager
def clear_metadata_errors(what: str) -> Any:
    """Turn what zarr raises for unreadable metadata into this package's errors."""
    try:
        yield
    except ChunkscaleError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceNotFoundError(f"{what} does not exist: {error}") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{what} may not be read: {error}") from error
    except json.JSONDecodeError as error:
        raise MetadataError(f"the metadata of {what} is not valid JSON: {error}") from error
    except OSError as error:
        raise SourceNotFoundError(f"{what} cannot be reached: {error}") from error


@contextlib.contextmanager
def clear_answers(uri: str) -> Iterator[None]:
    """Turn what tensorstore raises for an object store into clear errors without secrets.

    Its own repeat the server's whole answer, which may repeat what was signed.
    """
    try:
        yield
    except Exception as error:
        if not in_bucket(uri):
            raise
        text = first_line(error)
    else:
        return
    if text.startswith(("PERMISSION_DENIED", "UNAUTHENTICATED")):
        raise denial(uri, text)
    raise StoreError(text, text.startswith(_TRANSIENT_CODES))


@contextlib.contextmanager
def clear_write_errors(uri: str) -> Iterator[None]:
    """Name the place, the room that is left there and the remedy when a write fails."""
    try:
        yield
    except Exception as error:
        room = free_bytes(uri)
        left = "" if room is None else f"; {room / 2**20:.1f} MiB are free there"
        failure = OSError(
            f"cannot write to {uri!r}: {first_line(error)}{left}. What has been written is "
            "unfinished and opens as no image; when it can be written, go on with resume=True "
            "(--resume)"
        )
        failure.errno = getattr(error, "errno", None) or _system_errno(str(error))
        if failure.errno is None and not is_transient(error):
            failure.errno = errno.EACCES
        raise failure from error


class BadObjectError(OSError):
    """What lies at the place of a chunk or shard is not what was written."""


def _system_errno(text: str) -> int | None:
    """Return the errno that tensorstore tells in its message."""
    found = re.search(r"OS error (\d+)", text)
    return int(found.group(1)) if found else None


def is_transient(error: BaseException) -> bool:
    """Whether a store that raised `error` may answer when it is asked again."""
    if isinstance(error, CorruptChunkError):
        return error.transient
    if isinstance(error, ChunkscaleError | BadObjectError):
        return False
    if isinstance(error, StoreError):
        return error.transient
    status = getattr(error, "status", None)  # of an HTTP answer
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    if isinstance(error, OSError):
        return error.errno not in _PERMANENT
    # tensorstore raises ValueError for most, and says which kind at the beginning.
    return isinstance(error, TimeoutError) or str(error).startswith(_TRANSIENT_CODES)


def first_line(error: BaseException) -> str:
    """Return what an error says, without what tensorstore adds for its developers."""
    text = str(error).split(" [tensorstore_spec", maxsplit=1)[0].strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return re.sub(r" \[http_response_body=.*?\](?= \[|$)", "", line)


def free_bytes(uri: str) -> int | None:
    """Return the free disk space where a local output would go; None for object stores."""
    if is_remote(uri):
        return None
    path = Path(uri)
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
