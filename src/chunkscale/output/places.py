"""The place of an output: what lies there, what may go, and what is deleted."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from chunkscale.errors import DestinationError, MetadataError, SourceNotFoundError
from chunkscale.geometry.box import cell_counts
from chunkscale.output.record import zarr_format_of
from chunkscale.plan.model import ResamplePlan
from chunkscale.storage import objects as contents
from chunkscale.storage.documents import array_facts
from chunkscale.storage.files import link_text, linked_folders, wrong_kinds
from chunkscale.storage.groups import group_attributes, set_attributes
from chunkscale.storage.locations import join
from chunkscale.storage.names import (
    CHUNK,
    ENDS,
    METADATA_FILES,
    NOTES,
    STRAY,
    is_chunk_path,
    is_dropping,
    own_index,
)
from chunkscale.storage.stores import clear_write_errors, resolved, store_of


def make_folder(uri: str) -> None:
    """Make the folder of an output where there is none; object stores have none at all.

    A link to an image is replaced, not followed: what it leads to stays. One to
    a blank folder leads to where the output is to be.
    """
    if not store_of(uri).is_local:
        return
    with clear_write_errors(uri):
        if os.path.islink(uri) and not is_blank(uri):
            os.unlink(uri)
        Path(uri).mkdir(parents=True, exist_ok=True)


def begun_by_another(uri: str) -> DestinationError:
    """Return the error of a run that is not the first at a place."""
    return DestinationError(
        f"another run has just started to write the output {uri!r}; wait for it, or choose "
        "another path"
    )


def foreign_entries(uri: str, arrays: Iterable[str]) -> list[str]:
    """Return what lies in a group beside its metadata, these arrays and their chunks."""
    paths = [tuple(path.split("/")) for path in arrays]
    return [name for name in _foreign(uri, paths) if name.rpartition("/")[2] != NOTES]


def _foreign(uri: str, arrays: Sequence[tuple[str, ...]]) -> Iterator[str]:
    inner: dict[str, list[tuple[str, ...]]] = {}
    for first, *rest in filter(None, arrays):
        inner.setdefault(first, []).append(tuple(rest))
    is_array = () in arrays
    for name in contents.names(uri):
        if name in inner:
            yield from (f"{name}/{found}" for found in _foreign(join(uri, name), inner[name]))
        elif not (is_nobodys(uri, name) or (is_array and CHUNK.fullmatch(name))):
            yield name
        elif is_array and CHUNK.fullmatch(name) and store_of(uri).is_local:
            yield from _no_chunks(uri, name)


def is_nobodys(uri: str, name: str) -> bool:
    """Whether something in a group is metadata, or was left by desktops or killed processes.

    A folder is neither, whatever it is called: it may hold anything.
    """
    known = name in METADATA_FILES or is_dropping(name)
    return known and not _is_folder(join(uri, name))


def _is_folder(uri: str) -> bool:
    return store_of(uri).is_local and os.path.isdir(uri) and not os.path.islink(uri)


def _no_chunks(array: str, name: str) -> Iterator[str]:
    """Yield what lies at or below a name like that of chunks, and is none of the array."""
    at, ndim = join(array, name), _dimensions(array)
    found = [path for path, _ in contents.objects(at)] if _is_folder(at) else [""]
    for inner in found:
        path = f"{name}/{inner}".rstrip("/")
        is_chunk = is_chunk_path(path) and ndim in (None, len(re.findall(r"\d+", path)))
        # What has no dimension has one chunk, "0" or "c".
        if is_chunk or ndim == 0 or is_dropping(path.rpartition("/")[2]):
            continue
        if not os.path.islink(join(array, path)):  # of which only the link goes
            yield path


def _dimensions(array: str) -> int | None:
    """Return the number of dimensions of an array; None where its metadata do not tell."""
    (facts,) = array_facts([array], 3)
    return None if facts.problem else len(facts.shape)


def is_empty(uri: str) -> bool:
    """Whether a path holds nothing but notes."""
    return set(contents.names(uri)) <= {NOTES}


def is_blank(uri: str) -> bool:
    """Whether a path holds nothing, or what a run leaves that died while it began."""
    local = store_of(uri).is_local
    if local and not os.path.isdir(uri):
        return False
    names = contents.names(uri)
    if not names and not local:
        return not contents.exists(uri)  # an object without a name below it
    left = [n for n in names if n != NOTES and not (STRAY.fullmatch(n) and is_nobodys(uri, n))]
    if not {"zarr.json", ".zgroup", ".zattrs"}.issuperset(left):
        return False
    try:
        return not (left and group_attributes(uri))
    except (SourceNotFoundError, MetadataError):
        return False  # an array, or damaged: it could be anyone's


def drop_strays(uri: str) -> None:
    """Delete what killed processes left in a local folder while they wrote its documents."""
    if store_of(uri).is_local:
        left = (name for name in contents.names(uri) if name.endswith(ENDS))
        contents.delete(join(uri, name) for name in left if STRAY.fullmatch(name))


def tidy(uri: str, plan: ResamplePlan) -> tuple[dict[str, int], dict[str, int], int]:
    """Delete what killed processes left while they wrote objects; look once at all that is stored.

    Parameters
    ----------
    uri : str
        Of a group.
    plan : ResamplePlan
        Of its arrays.

    Returns
    -------
    counts : dict of str to int
        Stored chunks or shards by array; what others have put there is none, whatever its name.
    sizes : dict of str to int
        Bytes of these chunks or shards by array.
    nbytes : int
        Size of all objects of these arrays.
    """
    most = {level.path: cell_counts(level.shape, level.write_unit) for level in plan.levels}
    zarr_format = zarr_format_of(plan)
    counts, nbytes, strays = dict.fromkeys(most, 0), 0, []
    sizes = dict(counts)
    local = store_of(uri).is_local
    for path, size in contents.objects(uri):
        if path.endswith(ENDS) and local and STRAY.fullmatch(path.rpartition("/")[2]):
            strays.append(join(uri, path))
            continue
        array, _, inner = path.partition("/")
        if array in counts:
            is_chunk = own_index(inner, most[array], zarr_format) is not None
            counts[array] += is_chunk
            sizes[array] += is_chunk * size
            nbytes += size
    contents.delete(strays)
    return counts, sizes, nbytes


def check_parent(uri: str) -> None:
    """Refuse an output where no directory can be made, and one in an array; local ones only."""
    if not store_of(uri).is_local:
        return
    for parent in Path(resolved(uri)).parents:
        if _is_array(parent):
            raise DestinationError(
                f"the output {uri!r} lies inside the array {str(parent)!r}; choose a path outside "
                "of it"
            )
    for parent in Path(uri).parents:
        if parent.is_dir():
            break
        if os.path.lexists(parent):
            raise DestinationError(
                f"the output {uri!r} cannot be made: {str(parent)!r} is not a directory"
            )
    try:
        # Permissions do not tell: a file system may be read-only, or no place for files. It has no
        # name, where there is such: a killed run leaves nothing beside its output.
        with tempfile.TemporaryFile(prefix=".chunkscale-", dir=parent):
            pass
    except OSError as error:
        raise DestinationError(
            f"the output {uri!r} cannot be made: nothing can be written in {str(parent)!r} "
            f"({error.strerror}); choose another path"
        ) from error


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    try:
        node = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(node, dict) and node.get("node_type") == "array"


def discard(uri: str, arrays: Iterable[str] = ()) -> None:
    """Delete an output but for its notes; the caller has made sure that it is one.

    While it goes no reader takes it for an image, and whoever is interrupted
    here may delete it again: it says which `arrays` it had.
    """
    _unpublish(uri, arrays)
    for name in contents.names(uri):
        if name != NOTES and name not in METADATA_FILES:
            contents.delete_below(join(uri, name))
    # Metadata last: it says what the rest was; what repeats it before the rest of it.
    left = [name for name in contents.names(uri) if name != NOTES]
    left.sort(key=lambda name: name != ".zmetadata")
    contents.delete(join(uri, name) for name in left)


def _unpublish(uri: str, arrays: Iterable[str]) -> None:
    try:
        record = group_attributes(uri).get("chunkscale")
    except (SourceNotFoundError, MetadataError):
        return  # it was no image
    stated = record if isinstance(record, dict) else {}
    kept = {name: stated[name] for name in ("source", "source_hash") if name in stated}
    rest = {"state": "unfinished", "levels": list(arrays), **kept}
    try:
        set_attributes(uri, {"chunkscale": rest})
    except OSError:
        if not store_of(uri).is_local:
            raise


def check_steps(uri: str, path: str) -> None:
    """Refuse a path below a local output where a link stands for one of its folders."""
    names = path.split("/") if path and store_of(uri).is_local else []
    for n in range(1, len(names) + 1):
        if os.path.islink(step := join(uri, *names[:n])):
            raise DestinationError(f"the output {uri!r} {link_text(step)}")


def check_links(uri: str, arrays: Iterable[str] = ()) -> None:
    """Refuse a local output in which a link stands for a folder of its notes or these arrays.

    What lies behind one is not the output's, and would be written and deleted with it. A link to
    a file does no harm: it is replaced or deleted itself.
    """
    if not store_of(uri).is_local:
        return
    for link in linked_folders(uri, [NOTES, *arrays]):
        raise DestinationError(f"the output {uri!r} {link_text(link)}")
    check_kinds(uri, arrays)


def check_kinds(uri: str, arrays: Iterable[str] = ()) -> None:
    """Refuse a local output in which a file stands for a folder of its own, or a folder for a file.

    Of the chunks of its arrays a run finds out by itself: they have the place of others.
    """
    folders = [join(uri, name) for name in (NOTES, *arrays)]
    for folder in folders:
        if os.path.isfile(folder):
            raise _of_wrong_kind(uri, folder, "file", "folder")
    notes = [join(folders[0], name) for name in contents.names(folders[0])]
    documents = [join(at, name) for at in folders[1:] for name in METADATA_FILES]
    for file in (*notes, *documents):
        if os.path.isdir(file):
            raise _of_wrong_kind(uri, file, "folder", "file")


def _of_wrong_kind(uri: str, path: str, found: str, wanted: str) -> DestinationError:
    return DestinationError(
        f"the output {uri!r} holds the {found} {path!r} instead of a {wanted}; move it away, and "
        "repeat the command"
    )


def refuse_wrong_kinds(uri: str, arrays: Mapping[str, int]) -> None:
    """Refuse a local output in which chunks of arrays, of so many axes, have the wrong kind."""
    if not store_of(uri).is_local:
        return
    for name, axes in arrays.items():
        for path in wrong_kinds(join(uri, name), axes):
            found, wanted = ("folder", "file") if os.path.isdir(path) else ("file", "folder")
            raise _of_wrong_kind(uri, path, found, wanted)
