"""The directory of a zip file, read once and checked: what is in it, and where."""

from __future__ import annotations

import hashlib
import re
import stat
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import MetadataError

#: Returns so many bytes of a file from a position on.
Read = Callable[[int, int], bytes]

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
RECORD = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")

END_MARK, END64_MARK, LOCATOR_MARK = b"PK\5\6", b"PK\6\6", b"PK\6\7"
RECORD_MARK, LOCAL_MARK = b"PK\1\2", b"PK\3\4"

STORED, DEFLATED = 0, 8

#: The system whose kinds of files stand beside an entry.
_UNIX = 3

#: What a field of 32 bits holds where 64 are needed.
FULL = 0xFFFFFFFF

#: Of its directory, which is held in memory: half a million entries and more.
MOST_DIRECTORY = 64 * 2**20

#: Bytes that deflate makes of one, at most.
_MOST_INFLATION = 1032

#: In names that are no paths below the top, as any system has them.
_ELSEWHERE = re.compile(r"[\\\0]|^[A-Za-z]:|(?:^|/)\.{0,2}(?:/|$)")

_METHODS = {1: "shrink", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in a zip file.

    Parameters
    ----------
    name : str
    offset : int
        Of its local header.
    size, packed : int
        Bytes of its content, and of what is stored of it.
    crc : int
    method : int
        `STORED` or `DEFLATED`.
    slot : int
        Where the next entry begins, or the directory.
    raw : bytes
        Its name as it is stored.
    index : int
        Among those of its directory.
    """

    name: str
    offset: int
    size: int
    packed: int
    crc: int
    method: int
    slot: int
    raw: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What is in a zip file, sorted by name; of two entries of one name the last one counts.

    Parameters
    ----------
    names : list of str
    fields : ndarray of int64
        By entry: offset, size, packed, crc, method, slot.
    digest : str
        Hash of the directory, which has a checksum of each entry.
    raw : dict of str to bytes
        Names that are not stored as UTF-8.
    repeated : tuple of str
        Some names that are there more than once.
    folders : frozenset of str
        Names of folders that have an entry, with the slash at their end.
    """

    names: list[str]
    fields: NDArray[np.int64]
    digest: str
    raw: dict[str, bytes]
    repeated: tuple[str, ...] = ()
    folders: frozenset[str] = frozenset()

    def find(self, name: str) -> Entry | None:
        """Return the entry of a name."""
        index = bisect_left(self.names, name)
        if index == len(self.names) or self.names[index] != name:
            return None
        offset, size, packed, crc, method, slot = self.fields[index].tolist()
        raw = self.raw.get(name) or name.encode()
        return Entry(name, offset, size, packed, crc, method, slot, raw, index)

    def has_folder(self, name: str) -> bool:
        """Whether a name is that of a folder, be it empty."""
        path = f"{name}/"
        return path in self.folders or next(self.below(path), None) is not None

    def below(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield name and size of the entries whose names begin so, sorted by name."""
        for index in range(bisect_left(self.names, prefix), len(self.names)):
            if not self.names[index].startswith(prefix):
                return
            yield self.names[index], int(self.fields[index, 1])

    def children(self, prefix: str) -> list[str]:
        """Return the first parts of what follows a prefix, without looking at all of it."""
        found: list[str] = []
        index = bisect_left(self.names, prefix)
        while index < len(self.names) and self.names[index].startswith(prefix):
            name, slash, _ = self.names[index][len(prefix) :].partition("/")
            if not found or found[-1] != name:
                found.append(name)
            # What is in a folder is passed by: "0" follows the slash.
            index = bisect_left(self.names, f"{prefix}{name}0", index) if slash else index + 1
        return sorted(set(found))


def read_directory(what: str, size: int, read: Read) -> Directory:
    """Read the directory of a zip file of `size` bytes.

    Parameters
    ----------
    what : str
        For messages.
    size : int
    read : callable
        Takes a position and a number of bytes.

    Raises
    ------
    MetadataError
        If it is torn, or of a kind that is not read; the message says which.
    """
    start, length, count = _end(what, size, read)
    if length > MOST_DIRECTORY:
        raise MetadataError(
            f"the zip file {what!r} has a directory of {length} bytes for {count} entries, more "
            f"than the {MOST_DIRECTORY} that are read; unpack it into a folder"
        )
    content = read(start, length)
    if len(content) != length or content[:4] != RECORD_MARK[: len(content[:4])]:
        raise _torn(what, "its directory is not where its end record says")
    return _parsed(what, content, count, start)


def _end(what: str, size: int, read: Read) -> tuple[int, int, int]:
    """Return where the directory begins, its length, and how many entries it has."""
    tail_start = max(0, size - END.size - 0xFFFF - LOCATOR.size - END64.size)
    tail = read(tail_start, size - tail_start)
    at = tail.rfind(END_MARK)
    while at >= 0:
        if at + END.size <= len(tail):
            fields = END.unpack_from(tail, at)
            if at + END.size + fields[7] == len(tail):
                break
        at = tail.rfind(END_MARK, 0, at)
    if at < 0:
        raise _torn(what, "its end, which says what is in it, is missing")
    _, disk, first_disk, here, count, length, start, _ = fields
    behind = tail_start + at  # what follows the directory
    wide = at - LOCATOR.size
    if wide >= 0 and tail[wide : wide + 4] == LOCATOR_MARK:
        _, end64_disk, position, disks = LOCATOR.unpack_from(tail, wide)
        found = read(position, END64.size) if position + END64.size <= size else b""
        if len(found) != END64.size or found[:4] != END64_MARK:
            raise _torn(what, "the end of its zip64 directory is not where it should be")
        _, _, _, _, disk, first_disk, here, count, length, start = END64.unpack(found)
        if disks > 1 or end64_disk:
            raise _several(what)
        behind = position
    elif FULL in (length, start):
        raise _torn(what, "its zip64 directory has no end")
    if disk or first_disk or here != count:
        raise _several(what)
    if start + length != behind:
        raise _torn(
            what,
            f"its directory should end at byte {start + length} and ends at byte {behind}: bytes "
            "are missing, or others stand before it",
        )
    return start, length, count


def _parsed(what: str, content: bytes, count: int, end: int) -> Directory:
    names: list[str] = []
    rows = array("q")  # of a million entries a list of tuples takes ten times as much
    raw: dict[str, bytes] = {}
    at = 0
    while at < len(content):
        if at + RECORD.size > len(content) or content[at : at + 4] != RECORD_MARK:
            raise _torn(what, f"its directory is damaged behind entry {len(names)}")
        (_, _, _, flags, method, _, _, crc, packed, size, n, extra, comment, disk, _, _, offset) = (
            RECORD.unpack_from(content, at)
        )
        start = content[at : at + RECORD.size]
        stored = content[at + RECORD.size : at + RECORD.size + n]
        after = at + RECORD.size + n
        at = after + extra + comment
        if at > len(content):
            raise _torn(what, f"its directory ends within entry {len(names)}")
        name = _name(what, stored, flags)
        if FULL in (size, packed, offset):
            wide = _wide(content[after : after + extra], size, packed, offset)
            if wide is None:
                raise _torn(what, f"its entry {name!r} has no sizes")
            size, packed, offset = wide
        if disk and disk != 0xFFFF:
            raise _several(what)
        if offset + packed > end:
            raise _torn(what, f"its entry {name!r} should lie at byte {offset}, beyond its end")
        if _is_link(start):
            raise MetadataError(
                f"the zip file {what!r} has a link, {name!r}, which is not followed; make it "
                "again from the folder without -y, so that it contains the files themselves (zip "
                "-0 -r)"
            )
        _check(what, name, size, packed, method, flags)
        rows.extend((offset, size, packed, crc, method))
        names.append(name)
        if stored != name.encode():
            raw[name] = stored
    if len(names) != count:
        raise _torn(what, f"its directory has {len(names)} entries and should have {count}")
    fields = np.frombuffer(rows, np.int64).reshape(-1, 5)
    fields = np.column_stack([fields, _slots(what, names, fields, end)])
    return _sorted(names, fields, raw, hashlib.sha256(content).hexdigest())


def _sorted(
    names: list[str], fields: NDArray[np.int64], raw: dict[str, bytes], digest: str
) -> Directory:
    """Sort entries by name, without folders and all but the last of one name."""
    order = sorted(
        (i for i, name in enumerate(names) if not name.endswith("/")), key=names.__getitem__
    )
    last: list[int] = []
    repeated: list[str] = []
    for index in order:
        if last and names[last[-1]] == names[index]:
            repeated.append(names[index])
            last[-1] = index  # sorting keeps the order of equals
        else:
            last.append(index)
    return Directory(
        names=[names[i] for i in last],
        fields=fields[last],
        digest=digest,
        raw=raw,
        repeated=tuple(dict.fromkeys(repeated))[:10],
        folders=frozenset(name for name in names if name.endswith("/")),
    )


def _slots(what: str, names: list[str], fields: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Return where each entry has to end; refuse those that reach into others, or beyond."""
    order = np.argsort(fields[:, 0], kind="stable")
    slots = np.empty(len(names), np.int64)
    slots[order] = np.append(fields[order, 0][1:], end)
    lengths = np.fromiter((len(name) for name in names), np.int64, len(names))
    over = fields[:, 0] + LOCAL.size + np.minimum(lengths, 1) + fields[:, 2] > slots
    if (wrong := np.flatnonzero(over)).size:
        name, offset = names[wrong[0]], int(fields[wrong[0], 0])
        raise _torn(
            what,
            f"its entry {name!r} of {int(fields[wrong[0], 2])} bytes at byte {offset} reaches "
            f"beyond byte {int(slots[wrong[0]])}, where something else begins",
        )
    return slots


def _name(what: str, stored: bytes, flags: int) -> str:
    """Return the name of an entry as a path below the top, or refuse it."""
    try:
        name = stored.decode()
    except UnicodeDecodeError:
        if flags & 0x800:
            raise _torn(what, f"its entry {stored!r} has a name that is not UTF-8") from None
        name = stored.decode("cp437")
    if _ELSEWHERE.search(name.removesuffix("/")):
        raise MetadataError(
            f"the zip file {what!r} has an entry {name!r}, which is not a path below its root; "
            "make it again from the folder (zip -0 -r)"
        )
    return name


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int] | None:
    """Return the three numbers, those of 64 bits from the field that zip64 has for them."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            values = list(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
            numbers = [size, packed, offset]
            if numbers.count(FULL) > len(values):
                return None
            size, packed, offset = (values.pop(0) if n == FULL else n for n in numbers)
            return size, packed, offset
        extra = extra[4 + length :]
    return None


def _is_link(record: bytes) -> bool:
    """Whether an entry holds where a link leads to: who made it says on which system, and how."""
    return record[5] == _UNIX and stat.S_ISLNK(int.from_bytes(record[40:42], "little"))


def _check(what: str, name: str, size: int, packed: int, method: int, flags: int) -> None:
    if name.endswith("/"):
        return
    fault = ""
    if flags & 0x2041:
        fault = "is encrypted; decrypt it"
    elif method not in (STORED, DEFLATED):
        kind = _METHODS.get(method, f"method {method}")
        fault = f"is compressed with {kind}, which is not read; unpack it"
    if fault:
        raise MetadataError(
            f"the zip file {what!r} cannot be read: its entry {name!r} {fault}, and zip the folder "
            "again without compression (zip -0 -r)"
        )
    if (method == STORED and size != packed) or size > packed * _MOST_INFLATION + 64:
        raise _torn(what, f"its entry {name!r} cannot have {size} bytes in {packed}")


def _torn(what: str, why: str) -> MetadataError:
    return MetadataError(
        f"the zip file {what!r} is torn or damaged: {why}; copy or download it again"
    )


def _several(what: str) -> MetadataError:
    return MetadataError(
        f"the zip file {what!r} is part of a split archive, which is not read; join the parts "
        "into one (zip -s 0 PARTS --out WHOLE)"
    )
