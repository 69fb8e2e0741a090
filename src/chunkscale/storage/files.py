"""Files and folders of this machine."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import stat
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chunkscale.errors import MetadataError, OptionError
from chunkscale.storage.base import FIRST, Parts, Store
from chunkscale.storage.failures import BadObjectError, ReplacedError, TooLongError
from chunkscale.storage.locations import StoreOptions, plain


class Files(Store):
    """Local paths."""

    schemes = ("", "file")
    kind = "a local path"
    is_local = on_disk = True

    def normalise(self, text: str, options: StoreOptions) -> str:
        path = _file_path(text) if text.startswith("file://") else text
        return os.path.abspath(os.path.expanduser(path))

    def zarr_store(self, uri: str) -> Any:
        from zarr.storage import LocalStore

        return LocalStore(uri)

    def kvstore(self, uri: str) -> dict[str, Any] | None:
        return {"driver": "file", "path": uri.rstrip("/") + "/"}

    def get(self, uri: str, most: int | None = None) -> bytes | None:
        try:
            _refuse_special(uri)
            with open(uri, "rb") as file:
                if most is not None and os.fstat(file.fileno()).st_size > most:
                    raise TooLongError(uri, most)
                return file.read()
        except IsADirectoryError:
            if os.path.basename(uri) not in ("zarr.json", ".zgroup", ".zarray"):
                return None  # a group or an array is there without it
            raise MetadataError(
                f"{uri!r} is a folder instead of a file; restore the file, or move the folder "
                "away if it is not needed"
            ) from None
        except (FileNotFoundError, NotADirectoryError):
            _refuse_dangling(uri)
            return None

    def put(self, uri: str, content: bytes, *, new: bool = False) -> None:
        path = Path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            draft.write_bytes(content)
            if new:
                _link(draft, path)
            else:
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def withdraw(self, uri: str, content: bytes) -> None:
        path = Path(uri)
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        if aside.read_bytes() != content:
            aside.rename(path)
            raise FileExistsError(uri)
        aside.unlink()

    def names(self, uri: str) -> list[str]:
        return sorted(os.listdir(uri)) if os.path.isdir(uri) else []

    def first_objects(self, uri: str) -> set[str] | None:
        with contextlib.suppress(OSError), os.scandir(uri) as entries:
            found = set(itertools.islice(_paths(uri, ""), FIRST))
            if len(found) == FIRST:  # other folders may be called in another way
                tops = filter(None, map(_entry_name, itertools.islice(entries, FIRST)))
                inside = {path.partition("/")[0] + "/" for path in found}
                found.update(name for name in tops if name not in inside)
            return found
        return None

    def has(self, uri: str) -> bool:
        return os.path.isfile(uri)

    def objects(self, uri: str) -> Iterator[tuple[str, int]]:
        return _files(uri, "")

    def sizes(self, uris: Iterable[str]) -> list[int]:
        return [_file_size(uri) for uri in uris]

    def exists(self, uri: str) -> bool:
        return os.path.lexists(uri)

    def delete(self, uris: Iterable[str]) -> None:
        for uri in uris:
            Path(uri).unlink(missing_ok=True)

    def delete_below(self, uri: str) -> None:
        if os.path.isdir(uri) and not os.path.islink(uri):
            _delete_folder(uri)
        elif os.path.lexists(uri):
            os.unlink(uri)

    def prune(self, uri: str) -> None:
        with contextlib.suppress(OSError):  # it is not empty, or not there
            os.rmdir(uri)

    def stamp(self, uri: str) -> object:
        try:
            return _stamp(os.stat(uri))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def parts(self, uri: str) -> Parts:
        _refuse_special(uri)
        return _FileParts(uri)

    def resolved(self, uri: str) -> str:
        return os.path.realpath(uri)

    def same_place(self, one: str, other: str) -> bool:
        return True

    def free_bytes(self, uri: str) -> int | None:
        path = Path(uri)
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _FileParts(Parts):
    """A file that stays open: who replaces it by another one takes nothing away."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        found = os.fstat(self._file)
        self._stamp, self.size = _stamp(found), found.st_size
        self._lock = None if hasattr(os, "pread") else threading.Lock()

    def read(self, start: int, count: int) -> bytes:
        pieces = []
        while count and (piece := self._piece(start, count)):
            pieces.append(piece)
            start, count = start + len(piece), count - len(piece)
        if _stamp(os.fstat(self._file)) != self._stamp:
            raise ReplacedError(f"{self.path!r} has been changed since it was opened")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, start: int, count: int) -> bytes:
        if self._lock is None:
            return os.pread(self._file, count, start)
        with self._lock:
            os.lseek(self._file, start, os.SEEK_SET)
            return os.read(self._file, count)


def _refuse_special(path: str) -> None:
    """Refuse pipes and devices where a file should be: to open one may wait for ever."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise MetadataError(f"{path!r} is a pipe or a device instead of a file; restore the file")


def _refuse_dangling(path: str) -> None:
    """Refuse a link that leads nowhere where a file should be: there is one, out of reach."""
    if os.path.islink(path) and not os.path.exists(path):
        raise MetadataError(
            f"{path!r} is a link to {os.readlink(path)!r}, which does not exist; restore that "
            "file, or remove the link if it is not needed"
        )


def refuse_pipes(paths: Iterable[str]) -> None:
    """Raise for pipes in the place of chunks, and let those go that wait to open them."""
    pipes = list(filter(_is_pipe, paths))
    for path in pipes:
        with contextlib.suppress(OSError):  # nobody waits
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    if pipes:
        raise BadObjectError(f"{pipes[0]!r} is a pipe instead of a file")


def _is_pipe(path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISFIFO(os.stat(path).st_mode)
    return False


def _file_path(url: str) -> str:
    """Return the path that a file URL names on this machine."""
    host, slash, path = url[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost"):
        raise OptionError(
            f"cannot open {url!r}: it names a file on the host {host!r}; give its path on this "
            f"machine, like file:///{path or 'path'}"
        )
    named = unquote(slash + path)
    if re.search("[?#]", path) and not os.path.lexists(named):
        # A signature may stand there, which a message would repeat.
        raise OptionError(
            f"the URL {plain(url)!r} has a query or a fragment, which files do not have; leave "
            "it out, or write %3F or %23 if the '?' or '#' belongs to a name"
        )
    if os.name == "nt":
        from urllib.request import url2pathname

        return url2pathname(slash + path)  # without the slash before a drive letter
    return named


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(draft.read_bytes())


def move_new(draft: str, path: str) -> None:
    """Move a file to a place where nothing is.

    Raises
    ------
    FileExistsError
        If something is there.
    """
    try:
        os.link(draft, path)
        os.unlink(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.rename(draft, path)


def _paths(folder: str, prefix: str) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _paths(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def _entry_name(entry: os.DirEntry[str]) -> str | None:
    if not entry.is_dir():
        return entry.name
    with contextlib.suppress(OSError), os.scandir(entry.path) as inner:
        return None if next(inner, None) is None else entry.name + "/"
    return entry.name + "/"


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    # Several times as fast as `os.walk`, which there are a million files for.
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, path + "/")
                continue
            with contextlib.suppress(FileNotFoundError):  # it went while this one looked
                yield path, entry.stat().st_size


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _delete_folder(path: str) -> None:
    for patience in reversed(range(50)):
        try:
            shutil.rmtree(path)
        except OSError as error:
            # A run that has lost the output finishes its regions, or another one deletes, too.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not patience:
                raise
            if not os.path.isdir(path):
                return
            time.sleep(0.1)
        else:
            return


def linked_folders(uri: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield the links on the way from a local folder to these paths, and those to folders below."""
    for path in paths:
        steps = list(itertools.accumulate(path.split("/"), os.path.join, initial=uri))[1:]
        link = next(filter(os.path.islink, steps), None)
        if link is None:
            yield from _linked(steps[-1])
        else:
            yield link


def link_text(link: str) -> str:
    """Say of a link in an output why nothing is written or deleted there, and what to do."""
    return (
        f"holds the link {link!r} instead of a folder, and nothing outside an output is ever "
        f"written or deleted; remove the link (what it leads to, {os.path.realpath(link)!r}, "
        "stays), or move that folder to its place"
    )


def link_above(paths: Iterable[str], top: str) -> str:
    """Return a link among the folders of files that lie below a folder; nothing without one.

    What lies in a folder that is not there yet is not looked for: each look lets other threads take
    the interpreter, and with many of them it takes long to get it back.
    """
    real, missing = {top}, set[str]()
    for folder in {os.path.dirname(path): None for path in paths}:
        for step in _steps(folder, top):
            if step in missing:
                break
            if step in real:
                continue
            try:
                mode = os.lstat(step).st_mode
            except OSError:  # what is no folder the write will say
                missing.add(step)
                break
            if stat.S_ISLNK(mode):
                return step
            real.add(step)
    return ""


def _steps(folder: str, top: str) -> list[str]:
    """Return the folders on the way down from `top`, that itself left out."""
    steps = []
    while len(folder) > len(top):
        steps.append(folder)
        folder = os.path.dirname(folder)
    return steps[::-1]


def _linked(folder: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.is_symlink():
                    yield entry.path
                else:
                    yield from _linked(entry.path)


def wrong_kinds(folder: str, axes: int) -> Iterator[str]:
    """Yield the files below an array that stand for folders of chunks, and folders for chunks.

    Parameters
    ----------
    folder : str
    axes : int
        Of the array: so many numbers are the path of a chunk.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "c":
                if entry.is_dir():
                    yield from wrong_kinds(entry.path, axes)
                else:
                    yield entry.path
            elif entry.name.isascii() and entry.name.isdigit():
                if entry.is_dir() != (axes > 1):
                    yield entry.path
                elif axes > 1:
                    yield from wrong_kinds(entry.path, axes - 1)
