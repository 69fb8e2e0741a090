"""Named objects of bytes: list, get, put and delete them, in folders and in buckets."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chunkscale.errors import SourceNotFoundError
from chunkscale.storage.buckets import open_bucket
from chunkscale.storage.failures import clear_bucket_errors
from chunkscale.storage.locations import escaped, in_bucket, is_remote, join, split_url

#: Requests at once where many small ones are made.
_REQUESTS = 16

#: Objects in one request to delete, as S3 takes them.
_MOST_AT_ONCE = 1000


def exists(uri: str) -> bool:
    """Whether anything is stored at or below a location."""
    if not in_bucket(uri):
        return os.path.lexists(uri)
    return any(True for _ in objects(uri)) or _object_size(uri) is not None


def names(uri: str) -> list[str]:
    """Return the names directly below a location."""
    if not in_bucket(uri):
        return sorted(os.listdir(uri)) if os.path.isdir(uri) else []
    import obstore

    with clear_bucket_errors(uri):
        bucket, key = open_bucket(uri)
        found = obstore.list_with_delimiter(bucket, key or None)
    paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
    return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)


def objects(uri: str) -> Iterator[tuple[str, int]]:
    """Yield path (relative, with slashes) and size of every object below a location."""
    if not in_bucket(uri):
        yield from _files(uri, "")
        return
    import obstore

    with clear_bucket_errors(uri):
        bucket, key = open_bucket(uri)
        for batch in obstore.list(bucket, key or None):
            for entry in batch:
                yield entry["path"][len(key) :].lstrip("/"), entry["size"]


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


def get(uri: str) -> bytes | None:
    """Return what is stored at a location; None if nothing is."""
    try:
        if not is_remote(uri):
            return Path(uri).read_bytes()
        if not in_bucket(uri):
            return _downloaded(uri)
        import obstore

        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            return bytes(obstore.get(bucket, key).bytes())
    except SourceNotFoundError:
        raise  # the bucket, or a refusal
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def put(uri: str, content: bytes, *, new: bool = False) -> None:
    """Store an object in one piece; if it is to be `new`, a local one that is there stays."""
    if in_bucket(uri):
        import obstore

        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            obstore.put(bucket, key, content)
        return
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


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(draft.read_bytes())


def withdraw(uri: str, content: bytes) -> None:
    """Delete a local object if it is what was seen there; of several who try, one does.

    Raises
    ------
    FileExistsError
        If it is another one by now. It stays.
    """
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


def sizes(uris: Iterable[str]) -> list[int]:
    """Return the sizes of objects; 0 for those that are not there."""
    listed = list(uris)
    if not listed or not in_bucket(listed[0]):
        return [_file_size(uri) for uri in listed]
    with ThreadPoolExecutor(min(_REQUESTS, len(listed))) as pool:
        return [size or 0 for size in pool.map(_object_size, listed)]


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _object_size(uri: str) -> int | None:
    import obstore

    if not split_url(uri)[2]:
        return None  # the bucket itself
    try:
        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            return int(obstore.head(bucket, key)["size"])
    except SourceNotFoundError:
        raise
    except FileNotFoundError:
        return None


def delete(uris: Iterable[str]) -> None:
    """Delete objects of one place, those that are there."""
    left = iter(uris)
    while part := list(itertools.islice(left, _MOST_AT_ONCE)):
        if in_bucket(part[0]):
            _delete_objects(part)
        else:
            for uri in part:
                Path(uri).unlink(missing_ok=True)


def _delete_objects(uris: Sequence[str]) -> None:
    import obstore

    bucket, _ = open_bucket(uris[0])
    try:
        with clear_bucket_errors(uris[0]):
            obstore.delete(bucket, [split_url(uri)[2] for uri in uris])
    except SourceNotFoundError:
        raise
    except FileNotFoundError:  # some stores mind; each of the others must go all the same
        for uri in uris if len(uris) > 1 else ():
            _delete_objects([uri])


def delete_below(uri: str) -> None:
    """Delete everything at and below a location."""
    if in_bucket(uri):
        delete(join(uri, path) for path, _ in objects(uri))
    elif os.path.isdir(uri) and not os.path.islink(uri):
        _delete_folder(uri)
    elif os.path.lexists(uri):
        os.unlink(uri)


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


def prune(uri: str) -> None:
    """Remove a folder that is empty; object stores have none."""
    if not in_bucket(uri):
        with contextlib.suppress(OSError):  # it is not, or not there
            os.rmdir(uri)


#: So many names tell what lies in a folder; S3 lists as many at once.
_FIRST = 1000


def first_names(uri: str) -> set[str]:
    """Return some of the names directly below a location; those of folders end with a slash.

    Empty folders are left out. It takes as long for a million names as for a thousand: whichever
    the store lists first. Web servers list nothing, and not every bucket may be listed.
    """
    if is_remote(uri) and not in_bucket(uri):
        return set()
    if not in_bucket(uri):
        with contextlib.suppress(OSError), os.scandir(uri) as entries:
            return set(filter(None, map(_entry_name, itertools.islice(entries, _FIRST))))
        return set()
    import obstore

    try:
        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            batch = next(iter(obstore.list(bucket, key or None, chunk_size=_FIRST)), [])
    except OSError:
        return set()
    paths = (str(entry["path"])[len(key) :].lstrip("/") for entry in batch)
    return {first + slash for first, slash, _ in (path.partition("/") for path in paths)}


def _entry_name(entry: os.DirEntry[str]) -> str | None:
    if not entry.is_dir():
        return entry.name
    with contextlib.suppress(OSError), os.scandir(entry.path) as inner:
        return None if next(inner, None) is None else entry.name + "/"
    return entry.name + "/"


def linked_folders(uri: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield the links on the way from a local folder to these paths, and those to folders below."""
    for path in paths:
        steps = list(itertools.accumulate(path.split("/"), os.path.join, initial=uri))[1:]
        link = next(filter(os.path.islink, steps), None)
        if link is None:
            yield from _linked(steps[-1])
        else:
            yield link


def _linked(folder: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.is_symlink():
                    yield entry.path
                else:
                    yield from _linked(entry.path)


def _downloaded(url: str) -> bytes:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(escaped(url))
    return bytes(system.cat_file(path))
