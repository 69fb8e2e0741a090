"""Any store behind the protocol will do, and arrays are opened when they are read, once."""

import re
import shutil
import threading
import time
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from outputs import LAYOUTS, stack_with_holes, stored
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import chunkscale
from chunkscale.errors import (
    DestinationError,
    MetadataError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import Box, whole
from chunkscale.storage import objects as contents
from chunkscale.storage import stores
from chunkscale.storage.base import Store
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.failures import StoreError
from chunkscale.storage.reader import open_array
from chunkscale.storage.writer import ArrayWriter

pytestmark = pytest.mark.usefixtures("small_regions")


class Below(MutableMapping):
    """What lies below a prefix, as zarr wants it."""

    def __init__(self, kept, prefix):
        self.kept, self.prefix = kept, prefix

    def __getitem__(self, key):
        return default_buffer_prototype().buffer.from_bytes(self.kept[self.prefix + key])

    def __setitem__(self, key, value):
        self.kept[self.prefix + key] = value.to_bytes()

    def __delitem__(self, key):
        del self.kept[self.prefix + key]

    def __iter__(self):
        return (k[len(self.prefix) :] for k in list(self.kept) if k.startswith(self.prefix))

    def __len__(self):
        return sum(1 for _ in self)


class Memory(Store):
    """A dictionary."""

    schemes = ("mem",)
    kind = "a dictionary"

    def __init__(self):
        self.kept = {}

    def normalise(self, text, options):
        return text.rstrip("/")

    def zarr_store(self, uri):
        return MemoryStore(Below(self.kept, f"{uri}/"))

    def get(self, uri, most=None):
        return self.kept.get(uri)

    def put(self, uri, content, *, new=False):
        self.kept[uri] = content

    def names(self, uri):
        return sorted({path.partition("/")[0] for path, _ in self.objects(uri)})

    def objects(self, uri):
        start = f"{uri}/"
        listed = [(k, len(v)) for k, v in self.kept.items() if k.startswith(start)]
        return ((key[len(start) :], size) for key, size in listed)

    def sizes(self, uris):
        return [len(self.kept.get(uri, b"")) for uri in uris]

    def exists(self, uri):
        return uri in self.kept or bool(self.names(uri))

    def delete(self, uris):
        for uri in uris:
            self.kept.pop(uri, None)

    def same_place(self, one, other):
        return True

    def below(self, uri):
        """Return all objects below a location."""
        return {path: self.kept[f"{uri}/{path}"] for path, _ in self.objects(uri)}


@pytest.fixture
def memory(monkeypatch):
    """Add a store: one line."""
    store = Memory()
    monkeypatch.setattr("chunkscale.storage.stores.STORES", (*stores.STORES, store))
    return store


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise, (12, 40, 44)), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


class Interrupted(Exception):
    pass


def interrupt(state):
    if state.regions >= 3:
        raise Interrupted


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_that_is_added_holds_what_a_folder_does(
    layout, memory, stack, tmp_path, monkeypatch
):
    """Written, interrupted, resumed, checked, replaced and read: nothing else knows of it."""
    # In the folder, too: the chunks of a shard have another order.
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", "zarr")
    chunkscale.resample(stack, tmp_path / "out.zarr", **LAYOUTS[layout])
    with pytest.raises(Interrupted):
        chunkscale.resample(
            stack, "mem://box/out.zarr/", progress=interrupt, workers=1, **LAYOUTS[layout]
        )
    assert contents.names("mem://box/out.zarr/.chunkscale")
    run = chunkscale.resample(stack, "mem://box/out.zarr", resume=True, **LAYOUTS[layout])
    assert run.times.resumed_regions >= 3
    assert memory.below("mem://box/out.zarr") == stored(tmp_path / "out.zarr")
    assert chunkscale.check("mem://box/out.zarr", source=stack).faults == ()
    with pytest.raises(DestinationError, match="exists"):
        chunkscale.resample(stack, "mem://box/out.zarr")
    with pytest.raises(DestinationError, match="lies inside the source"):
        chunkscale.resample("mem://box/out.zarr", "mem://box/out.zarr/0/more")
    chunkscale.resample("mem://box/out.zarr", "mem://box/again.zarr", levels=1)
    chunkscale.resample("mem://box/out.zarr", "mem://box/again.zarr", levels=2, overwrite=True)
    report = chunkscale.check("mem://box/again.zarr", source="mem://box/out.zarr")
    assert report.faults == ()
    assert report.regions_compared
    chunk = next(key for key in memory.kept if re.search(r"again\.zarr/1/.*\d$", key))
    del memory.kept[chunk]
    assert "1 is missing" in chunkscale.check("mem://box/again.zarr").faults[0]


def test_a_store_that_is_added_can_be_listed(memory):
    """What follows from the rest of the protocol need not be written for a store."""
    for path in ("a", "b/c", "b/d/e"):
        contents.put(f"mem://box/{path}", path.encode())
    assert contents.names("mem://box") == ["a", "b"]
    assert dict(contents.objects("mem://box")) == {"a": 1, "b/c": 3, "b/d/e": 5}
    assert memory.first_objects("mem://box") == {"a", "b/c", "b/d/e"}
    assert memory.has("mem://box/b/c")
    assert not memory.has("mem://box/b")
    assert contents.sizes(["mem://box/b/c", "mem://box/none"]) == [3, 0]
    contents.delete_below("mem://box/b")
    assert sorted(memory.kept) == ["mem://box/a"]
    contents.delete(iter(["mem://box/none", "mem://box/a"]))
    assert not contents.exists("mem://box")


def test_a_store_that_is_added_fails_clearly(memory):
    """What is not there is told; where it was not added, it is told what there is."""
    with pytest.raises(SourceNotFoundError, match="mem://box/none"):
        chunkscale.open_image("mem://box/none")
    with pytest.raises(OptionError, match=r"'men' is not supported.* https, s3, gs, az, mem"):
        chunkscale.open_image("men://box/none")


def test_a_web_server_is_never_taken_for_an_empty_folder():
    """It lists nothing: who asks is told, and gets no empty list."""
    for ask in (contents.names, contents.objects, contents.exists):
        with pytest.raises(
            OptionError, match=r"'http://localhost:1/x' is a web address, .* listed"
        ):
            ask("http://localhost:1/x")


def opened(stack, faults):
    return open_array(f"{stack}/0", StoreIO(threads=1, faults=faults))


def test_an_array_is_opened_when_it_is_read_and_once(stack):
    """Metadata need no tensorstore; of many threads that begin to read one opens the array."""
    seen, whole, together = [], Box(start=(0, 0, 0), stop=(12, 40, 44)), threading.Barrier(4)

    def note(what, uri):
        seen.append(what)
        time.sleep(0.05)

    array = opened(stack, note)
    assert array.within(array.io).shape == array.shape == whole.shape
    assert seen == []

    def read(_):
        together.wait(20)
        return array.read(whole)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(read, range(4)):
            assert_array_equal(found, array.read(whole))
    assert seen.count("open") == 1


def test_what_tensorstore_takes_for_something_else_is_read_without_it(tmp_path):
    """Raw bytes have one more axis to it."""
    data = np.array([[b"abc", b"d"], [b"", b"ef"]], "S3").view("V3")
    zarr.create_array(tmp_path / "a.zarr", data=data, zarr_format=2)
    array = open_array(str(tmp_path / "a.zarr"), StoreIO(threads=1))
    assert_array_equal(array.read(Box(start=(0, 0), stop=(2, 2))), data)
    assert array.engine == "zarr"


@pytest.mark.parametrize("change", [{"shape": (24, 40, 44)}, {"dtype": "uint8"}])
def test_an_array_that_is_replaced_before_it_is_read_is_told(change, stack, make_image, noise):
    """Its metadata are of another array than the voxels would be."""
    array, whole = open_array(f"{stack}/0", StoreIO(threads=1)), Box(start=(0,) * 3, stop=(4,) * 3)
    shutil.rmtree(stack)
    made = {"shape": array.shape, "dtype": "uint16", **change}
    make_image(noise(made["shape"], made["dtype"]), (1.0, 0.4, 0.4), chunk=(4, 16, 16))
    for _ in range(2):
        with pytest.raises(MetadataError, match="has been replaced since it was opened"):
            array.read(whole)
    assert open_array(f"{stack}/0", StoreIO(threads=1)).read(whole).dtype == made["dtype"]


def test_all_who_wait_for_a_busy_store_wait_for_it_once(stack):
    """Each box fails for a while after one try, not after one for each thread before it."""
    seen, together, busy = [], threading.Barrier(4), True
    box = Box(start=(0, 0, 0), stop=(4, 16, 16))

    def fail(what, uri):
        seen.append(what)
        if busy and what == "open":
            time.sleep(1.0)
            raise StoreError("UNAVAILABLE", True)

    array = ArrayWriter(f"{stack}/0", StoreIO(threads=1, faults=fail))

    def write(_):
        together.wait(20)
        with pytest.raises(StoreError, match="UNAVAILABLE"):
            array.start_write(box, np.ones(box.shape, array.dtype))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert seen.count("open") < 4
    busy = False
    array.finish_write(array.start_write(box, np.ones(box.shape, array.dtype)))
    assert (array.read(box) == 1).all()


@pytest.fixture
def writer(make_image, noise):
    """Return the writer of an array in chunks of 4 x 4 x 4, whose last ones are cut."""
    path = make_image(noise((6, 8, 10)), chunk=(4, 4, 4))
    return ArrayWriter(str(path / "0"), StoreIO(threads=1, cache_bytes=2**20))


@pytest.mark.parametrize(
    ("start", "stop"),
    [((0, 0, 2), (4, 4, 4)), ((0, 0, 0), (4, 2, 4)), ((0, 0, 0), (5, 8, 10))],
)
def test_a_box_that_cuts_a_stored_object_is_never_written(writer, start, stop):
    """Two writers of one object would lose what one of them wrote."""
    box = Box(start=start, stop=stop)
    before = writer.read(whole(writer.shape)).copy()
    with pytest.raises(AssertionError, match="cuts stored objects"):
        writer.start_write(box, np.zeros(box.shape, writer.dtype))
    assert_array_equal(writer.read(whole(writer.shape)), before)


def test_what_is_stored_is_read_whatever_becomes_of_the_buffer(writer):
    """Buffers are used again as soon as a write has ended."""
    box = whole(writer.shape)
    buffer = np.full(box.shape, 7, writer.dtype)
    writer.finish_write(writer.start_write(box, buffer))
    buffer[...] = 1
    assert (writer.read(box) == 7).all()


def test_no_draft_is_left_behind(tmp_path):
    """Whether an object is new, replaced, or refused because there is one."""
    place = str(tmp_path / "note")
    contents.put(place, b"1", new=True)
    with pytest.raises(FileExistsError):
        contents.put(place, b"2", new=True)
    contents.put(place, b"3")
    assert contents.get(place) == b"3"
    assert contents.names(str(tmp_path)) == ["note"]
