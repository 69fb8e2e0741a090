"""What stores raise, as errors of this package: named, without secrets, and with a remedy."""

from __future__ import annotations

import contextlib
import errno
import functools
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    CorruptChunkError,
    MetadataError,
    SourceNotFoundError,
)
from chunkscale.text import human_bytes

P = ParamSpec("P")


class StoreError(OSError):
    """An object store did not do what it was asked for.

    Attributes
    ----------
    transient : bool
        Whether it may do it another time.
    busy : bool
        Whether to ask again at once, for some seconds, may help.
    """

    def __init__(self, message: str, transient: bool, busy: bool = False) -> None:
        super().__init__(message, transient, busy)
        self.transient, self.busy = transient, busy

    def __str__(self) -> str:
        return str(self.args[0])


UNREACHED = " cannot be reached: "


def unreached(uri: str, reason: str, transient: bool, busy: bool = False) -> StoreError:
    """Return the error that says why a location cannot be reached."""
    return StoreError(f"{uri!r}{UNREACHED}{reason}", transient, busy)


def no_connection(error: OSError, server: str) -> str:
    """Return why there is no connection, and what to do; nothing where that is not known."""
    if isinstance(error, socket.gaierror):
        return f"no host of this name is known ({server}); check the name, and the network"
    if error.errno == errno.ECONNREFUSED:
        return f"{server} refused the connection; check the address, and that the server runs"
    return ""


#: Asking again does not help.
_PERMANENT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.ELOOP,
}

BUSY_CODES = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")

TRANSIENT_CODES = (*BUSY_CODES, "INTERNAL", "UNKNOWN")


class _Forgetting(contextlib.AbstractContextManager[None]):
    """A context whose errors do not remember those that they replace."""

    def __init__(self, inner: contextlib.AbstractContextManager[None]) -> None:
        self._inner = inner

    def __enter__(self) -> None:
        return self._inner.__enter__()

    def __exit__(self, *raised: Any) -> bool | None:
        try:
            return self._inner.__exit__(*raised)
        except BaseException as error:
            if error is not raised[1]:
                error.__context__ = None
            raise


def forgetting(
    function: Callable[P, Iterator[None]],
) -> Callable[P, contextlib.AbstractContextManager[None]]:
    """Make a context of a generator, as `contextlib` does, in which no replaced error is kept.

    ``from None`` hides it from tracebacks alone: whoever logs the context of an error would find
    the token of an address there.
    """
    make = contextlib.contextmanager(function)

    @functools.wraps(function)
    def made(*arguments: P.args, **options: P.kwargs) -> contextlib.AbstractContextManager[None]:
        return _Forgetting(make(*arguments, **options))

    return made


@contextlib.contextmanager
def clear_metadata_errors(what: str) -> Any:
    """Turn what is raised for metadata that cannot be read into this package's errors."""
    try:
        yield
    except ChunkscaleError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceNotFoundError(f"{what} does not exist: {first_line(error)}") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{what} may not be read: {first_line(error)}") from error
    except OSError as error:
        text = first_line(error)
        if UNREACHED not in text:  # or the store has named the document in it
            text = f"{what}{UNREACHED}{text}"
        raise SourceNotFoundError(text) from error
    except (ValueError, RecursionError) as error:
        raise MetadataError(
            f"the metadata of {what} is not valid JSON: {first_line(error)}"
        ) from error


def refuse_unreached(error: SourceNotFoundError) -> None:
    """Raise an error again that says of a store that it failed, and not that nothing is there."""
    if isinstance(error.__cause__, StoreError):
        raise error


class BadObjectError(OSError):
    """What lies at the place of a chunk or shard is not what was written."""


class TooLongError(MetadataError):
    """A document has more bytes than are read of one."""

    def __init__(self, uri: str, most: int) -> None:
        super().__init__(
            f"{uri!r} has more than {human_bytes(most)}, too much for metadata; if it has "
            'a "consolidated_metadata", which is not needed here, remove it'
        )

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return MetadataError, (str(self),)


class ReplacedError(BadObjectError):
    """What is read in parts is not what was opened."""


def system_errno(text: str) -> int | None:
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
    return isinstance(error, TimeoutError) or str(error).startswith(TRANSIENT_CODES)


def is_denied(error: BaseException) -> bool:
    """Whether a store has what was asked for, or may have, and does not give it."""
    denied = r"^PERMISSION_DENIED|^UNAUTHENTICATED|\[HTTP code 40[13]\]|\bOS error 13\b"
    return isinstance(error, AccessDeniedError | PermissionError) or bool(
        re.search(denied, str(error))
    )


def first_line(error: BaseException) -> str:
    """Return what an error says, without what tensorstore adds for its developers.

    Nor with what may be a secret in a URL: its user, its query, its fragment.
    """
    text = str(error).split(" [tensorstore_spec", maxsplit=1)[0].strip()
    line = text.splitlines()[0] if text else type(error).__name__
    line = re.sub(r" \[http_response_body=.*?\](?= \[|$)", "", line)
    return re.sub(r"(https?://)(?:[^\s/@]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?", r"\1\2", line)


@forgetting
def clear_answers(denial: Callable[[str], Exception] | None = None) -> Iterator[None]:
    """Turn what tensorstore raises into clear errors without secrets.

    Its own repeat the server's whole answer, which may repeat what was signed. `denial` makes the
    error of a refusal, where that has one of its own.
    """
    try:
        yield
    except Exception as error:
        text = first_line(error)
    else:
        return
    if denial is not None and text.startswith(("PERMISSION_DENIED", "UNAUTHENTICATED")):
        raise denial(text) from None
    raise StoreError(text, text.startswith(TRANSIENT_CODES)) from None
