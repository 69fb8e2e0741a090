"""Object stores: what works in a folder works there, and no failure is ever read as zeros."""

import gzip
import itertools
import json
import pickle
import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from datetime import timedelta

import clouds
import numcodecs
import numpy as np
import plates
import pytest
import s3
from campaigns import images
from mirrors import ON, OVER, begin, fill, mirrored
from numpy.testing import assert_array_equal
from outputs import LAYOUTS, stack_with_holes, stored

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    CorruptChunkError,
    DestinationError,
    MetadataError,
    NotAnImageError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import Box
from chunkscale.output import leases
from chunkscale.sources.collections import open_collection
from chunkscale.storage import objects as contents
from chunkscale.storage import patience
from chunkscale.storage.buckets.access import opened_bucket, root
from chunkscale.storage.locations import above, join
from chunkscale.storage.stores import normalise, same_store

pytest.importorskip("moto")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_regions")]

SECRET = "7c0a1e4f-not-to-be-told"
numbers = itertools.count()


@pytest.fixture(scope="module")
def port():
    with s3.endpoint() as port:
        yield port


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    """Leave nothing of the machine's own configuration, and let nobody wait."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr("chunkscale.storage.patience.FIRST_WAIT", patience.FIRST_WAIT / 100)
    monkeypatch.setattr("chunkscale.storage.patience.LONGEST_WAIT", patience.LONGEST_WAIT / 100)
    opened_bucket.cache_clear()


@pytest.fixture
def bucket(port):
    return s3.Bucket(f"bucket-{next(numbers)}", port)


@pytest.fixture
def proxy(port):
    with s3.proxy(port) as proxy:
        yield proxy


@pytest.fixture(params=["tensorstore", "zarr"])
def engine(request, monkeypatch):
    """Let one engine write; zarr-python reads in any case."""
    if request.param == "zarr":
        monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", "zarr")
    return request.param


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise, (12, 40, 44)), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


@pytest.fixture
def small(make_image, noise, bucket):
    """Return the URL of an image without a zero, of chunks (3, 8, 8)."""
    path = make_image(noise((6, 20, 31)) | 1, (2.0, 0.5, 0.5), name="small", chunk=(3, 8, 8))
    return bucket.upload(path, "small.zarr")


def whole(url, **options):
    image = chunkscale.open_image(url, storage_options=options)
    return image.array.read(Box(start=(0,) * image.grid.ndim, stop=image.grid.shape))


def without_source(objects):
    """Return stored objects; of the group's attributes what does not name the source."""
    kept = dict(objects)
    for name in ("zarr.json", ".zattrs"):
        if name in kept:
            attributes = json.loads(kept[name])
            record = attributes.get("attributes", attributes)["chunkscale"]
            del record["source"]
            record.pop("source_hash", None)  # of a local source
            kept[name] = attributes
    return kept


class Interrupted(Exception):
    pass


def interrupt(state):
    if state.regions >= 3:
        raise Interrupted


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bucket_holds_what_a_folder_does(layout, engine, bucket, stack, tmp_path, monkeypatch):
    """From one place in a bucket to another: info, plan, resample and check, object by object."""
    local = chunkscale.resample(stack, tmp_path / "out.zarr", **LAYOUTS[layout])
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    source, target = bucket.upload(stack, "a b/in é+#.zarr"), bucket.url("out é+#.zarr")
    assert {**chunkscale.info(source), "path": 0} == {**chunkscale.info(stack), "path": 0}
    run = chunkscale.resample(source, target, **LAYOUTS[layout])
    assert run.path == target
    assert run.plan.levels == local.plan.levels
    assert abs(run.stored_bytes - local.stored_bytes) < 1000  # the name of the source
    wanted, found = stored(tmp_path / "out.zarr"), bucket.stored("out é+#.zarr")
    assert without_source(found) == without_source(wanted)
    assert all(key.startswith(("a b/in é+#.zarr/", "out é+#.zarr/")) for key in bucket.stored(""))
    assert chunkscale.open_image(target).array.engine == "zarr"
    report = chunkscale.check(target, source=source)
    assert report.faults == ()
    assert report.voxels_compared


def test_the_command_line(bucket, stack, capsys, monkeypatch):
    """All verbs take the options; a bucket's objects that are missing are missed."""
    reach = ["--storage-option", f"endpoint={bucket.endpoint}", "--storage-option", "region=eu-x-1"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # an option comes first
    source, target = bucket.upload(stack, "in.zarr"), bucket.url("out.zarr")
    assert main(["info", source, *reach]) == 0
    assert main(["plan", source, *reach]) == 0
    assert main(["resample", source, target, *reach, "--chunk", "16", "--shard", "0"]) == 0
    assert main(["resample", source, target, *reach]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["check", target, "--source", source, *reach]) == 0
    bucket.delete("out.zarr/0/c/1/2/2")
    assert main(["check", target, *reach]) == 3
    assert "stored chunks" in capsys.readouterr().out


def test_chunks_in_a_bucket_that_have_other_names_are_not_taken_for_missing(
    bucket, stack, tmp_path
):
    """As in a folder: what lies there, what is declared and what to set."""
    chunkscale.resample(stack, tmp_path / "out.zarr", ome_zarr_version="0.4", levels=1)
    file = tmp_path / "out.zarr/0/.zarray"
    document = json.loads(file.read_text())
    assert document.pop("dimension_separator") == "/"
    file.write_text(json.dumps(document))
    url = bucket.upload(tmp_path / "out.zarr", "out.zarr")
    with pytest.raises(MetadataError, match=r"'0.0.0'.* '0/0/0'.*\"dimension_separator\": \"/\""):
        chunkscale.open_image(url, storage_options=bucket.options)


def test_each_side_has_its_options(bucket, proxy, stack, tmp_path):
    """A public source and a private target; the source is never written to."""
    source, public = bucket.upload(stack, "in.zarr"), {"endpoint": proxy.url, "anon": True}
    with pytest.raises(AccessDeniedError, match="AWS_ACCESS_KEY_ID"):
        chunkscale.open_image(source, storage_options=public)
    bucket.publish("in.zarr")
    proxy.requests.clear()
    target = bucket.url("out.zarr")
    chunkscale.resample(
        source, target, storage_options=bucket.options, source_storage_options=public
    )
    assert proxy.requests
    assert {command for command, *_ in proxy.requests} <= {"GET", "HEAD"}
    assert not [headers for _, _, headers, _ in proxy.requests if "Authorization" in headers]
    assert chunkscale.check(
        target, source=source, storage_options=bucket.options, source_storage_options=public
    )
    image = chunkscale.open_image(source, storage_options=public)
    chunkscale.resample(image, tmp_path / "local.zarr")
    kept = {"endpoint": bucket.endpoint}
    chunkscale.resample(tmp_path / "local.zarr", target, overwrite=True, storage_options=kept)


@pytest.mark.parametrize("layout", ["sharded", "0.4"])
def test_a_run_there_is_continued(layout, bucket, stack, tmp_path):
    """The ledger lies in the bucket; the bytes are those of an undisturbed run."""
    options = {**LAYOUTS[layout], "storage_options": bucket.options}
    target = bucket.url("out.zarr")
    chunkscale.resample(stack, tmp_path / "whole.zarr", **LAYOUTS[layout])
    with pytest.raises(Interrupted):
        chunkscale.resample(stack, target, progress=interrupt, **options)
    assert any(name.startswith(".chunkscale/done-") for name in bucket.stored("out.zarr"))
    with pytest.raises(NotAnImageError, match="did not finish"):
        chunkscale.open_image(target, storage_options=bucket.options)
    run = chunkscale.resample(stack, target, resume=True, **options)
    assert run.times.resumed_regions >= 3
    wanted = without_source(stored(tmp_path / "whole.zarr"))
    assert without_source(bucket.stored("out.zarr")) == wanted
    # Torn, missing, and too many: mended.
    victims = [n for n, c in bucket.stored("out.zarr").items() if "json" not in n and len(c) > 99]
    victims = [name for name in victims if not name.startswith(".") and "/." not in name]
    bucket.put(f"out.zarr/{victims[0]}", bucket.stored("out.zarr")[victims[0]][:-7])
    bucket.delete(f"out.zarr/{victims[-1]}")
    assert not chunkscale.check(target, storage_options=bucket.options)
    chunkscale.resample(stack, target, resume=True, **options)
    assert without_source(bucket.stored("out.zarr")) == wanted


def test_only_one_run_writes_it(bucket, stack):
    """The lease lies in the bucket, too."""
    target, options = bucket.url("out.zarr"), {"storage_options": bucket.options, "chunk": 8}
    with pytest.raises(Interrupted):
        chunkscale.resample(stack, target, progress=interrupt, **options)
    uri = normalise(target, bucket.options)
    lease = leases.acquire(uri)
    with pytest.raises(DestinationError, match="being written by process"):
        chunkscale.resample(stack, target, resume=True, **options)
    assert leases.holder(uri) == lease
    chunkscale.resample(stack, target, resume=True, take_over=True, **options)
    assert chunkscale.check(target, storage_options=bucket.options)


@pytest.mark.parametrize("inner", ["notes.txt", "labels/x/zarr.json", "4/zarr.json"])
def test_only_one_image_is_overwritten(inner, bucket, stack):
    """What holds something else is refused; a neighbour of a longer name is not touched."""
    target, options = bucket.url("out.zarr"), {"storage_options": bucket.options}
    bucket.put("out.zarr2/zarr.json", b"neighbour")
    chunkscale.resample(stack, target, chunk=16, levels=2, **options)
    before = bucket.stored("out.zarr")
    chunkscale.resample(stack, target, chunk=32, levels=1, overwrite=True, **options)
    assert set(before) - set(bucket.stored("out.zarr"))
    assert chunkscale.check(target, storage_options=bucket.options)
    bucket.put(f"out.zarr/{inner}", b"mine")
    before = bucket.stored("out.zarr")
    with pytest.raises(DestinationError, match="more than one image"):
        chunkscale.resample(stack, target, overwrite=True, **options)
    assert bucket.stored("out.zarr") == before
    assert bucket.stored("out.zarr2") == {"zarr.json": b"neighbour"}
    bucket.put("data/table.csv", b"mine")
    bucket.put("object", b"")
    for name in ("data", "object", ""):
        with pytest.raises(DestinationError, match="not an OME-Zarr image"):
            chunkscale.resample(stack, bucket.url(name), overwrite=True, **options)
    assert bucket.stored("")["object"] == b""


def test_an_interrupted_deletion_can_be_repeated(bucket, stack, monkeypatch):
    """While an image is deleted it is none, and may still be replaced, or resumed."""
    target, options = bucket.url("out.zarr"), {"storage_options": bucket.options}
    chunkscale.resample(stack, target, ome_zarr_version="0.4", **options)
    delete = contents.delete_below

    def broken(uri):
        delete(uri)
        raise OSError("gone")

    for again in ("overwrite", "resume"):
        with monkeypatch.context() as patch:
            patch.setattr("chunkscale.storage.objects.delete_below", broken)
            with pytest.raises(OSError, match="gone"):
                chunkscale.resample(stack, target, overwrite=True, **options)
        with pytest.raises(NotAnImageError):
            chunkscale.open_image(target, storage_options=bucket.options)
        chunkscale.resample(stack, target, **{again: True}, **options)
        assert chunkscale.check(target, storage_options=bucket.options)


def test_an_output_in_its_source_is_refused(bucket, small):
    """Equal, inside and around; the same path of another server is another place."""
    for target in (small, f"{small}/out", bucket.url("")):
        with pytest.raises(DestinationError):
            chunkscale.resample(
                small, target, resume=target != small, storage_options=bucket.options
            )
    one, other = (normalise(small, {"endpoint": f"http://{n}:1"}) for n in "ab")
    assert not same_store(one, other)


@pytest.mark.parametrize("status", [403, 405, 500])
def test_a_refused_chunk_is_an_error_and_never_zeros(status, bucket, proxy, small, capsys):
    """Array and chunk are named; a run fails, and says so."""
    key = "small.zarr/0/c/0/1/2"
    proxy.faults[key] = status
    with pytest.raises(CorruptChunkError) as error:
        whole(small, endpoint=proxy.url)
    assert f"{small}/0" in str(error.value)
    assert "chunk (0, 1, 2)" in str(error.value)
    assert str(status) in str(error.value) or "denied" in str(error.value)
    reach = ["--storage-option", f"endpoint={proxy.url}"]
    assert main(["resample", small, bucket.url("out.zarr"), *reach]) == 1
    message = capsys.readouterr().err
    assert "chunk (0, 1, 2)" in message
    assert "hidden" not in message
    assert not chunkscale.check(bucket.url("out.zarr"), storage_options=bucket.options)
    proxy.faults.clear()
    assert (whole(small, endpoint=proxy.url) != 0).all()


#: What may lie in the place of a chunk of 3 x 8 x 8 voxels, and what is said of it.
TRAPS = {
    "blosc": (
        lambda: numcodecs.Blosc("lz4").encode(bytes(2**28))[: 2**16],
        "decodes to more than the",
    ),
    "zstd": (lambda: numcodecs.Zstd(1).encode(bytes(2**28)), "decodes to more than the"),
    "gzip": (lambda: gzip.compress(bytes(2**28), 1)[: 2**16], "decodes to more than the"),
    "none": (lambda: bytes(2**28), "should have [0-9]+ at most"),
    "endless": (None, "cannot be reached"),
    "empty": (lambda: b"", "has 0 bytes and should have 1 or more"),
}


def test_no_more_is_taken_of_a_chunk_than_it_may_have(bucket, proxy, make_image, noise):
    """It is named; 256 MiB, stored or decoded, and an answer without end take no memory."""
    for trap, (content, _) in TRAPS.items():
        codec = {"blosc": "blosc-lz4", "zstd": "zstd", "gzip": "gzip"}.get(trap, "none")
        path = make_image(noise((6, 20, 31)), name=trap, chunk=(3, 8, 8), codec=codec)
        bucket.upload(path, trap)
        if content is not None:
            bucket.put(f"{trap}/0/c/0/1/2", bytes(content()))
    proxy.faults["endless/0/c/0/1/2"] = "endless"
    program = f"""
import re
import chunkscale
from chunkscale.geometry.box import whole

def taken():
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024

def read(url):
    try:
        array = chunkscale.open_image(url, storage_options={{"endpoint": {proxy.url!r}}}).array
        array.read(whole(array.shape))
    except chunkscale.CorruptChunkError as error:
        return str(error)

read({bucket.url("endless")!r})
before = taken()
for trap in {list(TRAPS)!r}:
    print(trap, read({bucket.url("")!r} + trap))
print(taken() - before)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    *lines, grown = told.stdout.splitlines()
    assert len(lines) == len(TRAPS)
    for line, (trap, (_, words)) in zip(lines, TRAPS.items(), strict=True):
        assert re.match(rf"{trap} chunk \(0, 1, 2\) of array .*/{trap}/0.*{words}", line), line
    assert float(grown) < 48, told.stdout


def test_a_shard_is_read_as_its_index_should_say(bucket, tmp_path):
    """Neither what is empty nor an inner chunk of 64 MiB is taken for one of its own."""
    data = images.coded(tmp_path, "v3-shards")
    url = bucket.upload(tmp_path, "shards")
    assert_array_equal(whole(url, **bucket.options), data)
    index = np.frombuffer(bucket.stored("shards")["0/c/0/1/1"][-4 - 16 * 8 : -4], "<u8").copy()
    index[:2] = 0, 2**26
    large = bytes(2**26) + bytes(numcodecs.CRC32C(location="end").encode(index.tobytes()))
    for content, words in (
        (b"", "has 0 bytes and should have 1 or more|cannot be reached"),
        (large, r"should have \d+ at most"),
    ):
        bucket.put("shards/0/c/0/1/1", content)
        array = chunkscale.open_image(url, storage_options=bucket.options).array
        for stop in ((4, 16, 16), (1, 9, 9)):  # the shard, and a voxel of it
            with pytest.raises(CorruptChunkError, match=rf"chunk \(0, 2, 2\) .*({words})"):
                array.read(Box(start=(0, 8, 8), stop=stop))


@pytest.mark.parametrize("fault", ["large", "endless"])
def test_no_more_is_taken_of_a_document_than_it_may_have(fault, bucket, proxy, small, monkeypatch):
    monkeypatch.setattr("chunkscale.storage.documents.MOST_BYTES", 2**20)
    if fault == "large":
        bucket.put("small.zarr/zarr.json", b" " * (2**20 + 1))
    else:
        proxy.faults["GET small.zarr/zarr.json"] = "endless"
    words = r"zarr.json' (has more than 1\.0 MiB|cannot be reached)"
    with pytest.raises(ChunkscaleError, match=words):
        chunkscale.open_image(small, storage_options={"endpoint": proxy.url})


def test_a_chunk_that_many_boxes_touch_is_fetched_once(bucket, proxy, make_image, noise, tmp_path):
    """Of whole planes in regions that each take a part of all of them."""
    path = make_image(noise((8, 64, 64)), (2.0, 0.5, 0.5), name="planes", chunk=(1, 64, 64))
    source = bucket.upload(path, "planes")
    options = {"chunk": 16, "shard": 0, "levels": 1, "workers": 2}
    run = chunkscale.resample(
        source, tmp_path / "out.zarr", storage_options={"endpoint": proxy.url}, **options
    )
    assert run.plan.region_count > 8
    asked = [key for command, key, *_ in proxy.requests if command == "GET"]
    fetched = Counter(key for key in asked if "/c/" in key)
    assert len(fetched) == 8
    assert set(fetched.values()) == {1}


@pytest.mark.parametrize("fault", [503, 0.3])
@pytest.mark.parametrize("command", ["GET", "PUT"])
def test_a_busy_server_is_asked_again(command, fault, engine, bucket, proxy, small):
    """Three times 5xx, or a slow answer: what is asked takes longer and is right."""
    target, options = bucket.url("out.zarr"), {"endpoint": proxy.url}
    asked = {
        "GET": ("small.zarr/0/c/0/1/2", "small.zarr/0/zarr.json"),
        "PUT": ("out.zarr/0/c/0/0/0", "out.zarr/1/zarr.json"),
    }[command]
    proxy.faults = {f"{command} {key}": fault for key in asked}
    proxy.times = dict.fromkeys(proxy.faults, 3)
    left = 0 if fault == 503 else 2  # who is slow need not be asked again
    if command == "GET":  # where nothing but the store asks again
        assert (whole(small, endpoint=proxy.url) != 0).all()
        assert max(proxy.times.values()) <= left
        proxy.times = dict.fromkeys(proxy.faults, 3)
    chunkscale.resample(small, target, levels=2, storage_options=options)
    assert max(proxy.times.values()) <= left
    assert chunkscale.check(target, source=small, storage_options=bucket.options)


def test_a_store_that_refuses_to_be_written(engine, bucket, proxy, stack, capsys):
    """403 for one chunk, and for everything: an error that names it, and no image."""
    reach = ["--storage-option", f"endpoint={proxy.url}", "--chunk", "16", "--shard", "0"]
    target = bucket.url("out.zarr")
    proxy.faults["PUT out.zarr/0/c/1/2/2"] = 403
    assert main(["resample", str(stack), target, *reach]) == 1
    assert "cannot write to" in capsys.readouterr().err
    assert not chunkscale.check(target, storage_options=bucket.options)
    # Only who tries finds out, so this is no refusal before anything is written.
    proxy.faults = {"PUT ": 403}
    assert main(["resample", str(stack), bucket.url("other.zarr"), *reach]) == 1
    message = capsys.readouterr().err
    assert "access to" in message
    assert "AWS_ACCESS_KEY_ID" in message
    assert "profile" in message
    assert bucket.stored("other.zarr") == {}
    proxy.faults = {"PUT other.zarr/1/zarr.json": 403}
    assert main(["resample", str(stack), bucket.url("other.zarr"), *reach]) == 1
    assert bucket.stored("other.zarr") != {}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_bucket_that_may_be_read_but_not_listed(version, bucket, proxy, stack, tmp_path):
    """Such a server answers 403 for what is not there: metadata opens, a chunk is an error."""
    made = tmp_path / "made.zarr"
    chunkscale.resample(stack, made, chunk=16, shard=None if version == "0.4" else 0,
                        ome_zarr_version=version)  # fmt: skip
    url, proxy.lists = bucket.upload(made, "in.zarr"), False
    image = chunkscale.open_image(url, storage_options={"endpoint": proxy.url})
    corner = Box(start=tuple(n - 2 for n in image.grid.shape), stop=image.grid.shape)
    assert_array_equal(image.array.read(corner), chunkscale.open_image(made).array.read(corner))
    with pytest.raises(CorruptChunkError, match="denied"):
        image.array.read(Box(start=(0, 0, 0), stop=(1, 1, 1)))  # all fill: never stored
    with pytest.raises(AccessDeniedError, match="denied"):
        chunkscale.open_image(bucket.url("nothing"), storage_options={"endpoint": proxy.url})


def test_what_is_not_there(bucket, stack, capsys):
    """A missing bucket is told from a missing image, for input and output."""
    reach = ["--storage-option", f"endpoint={bucket.endpoint}"]
    assert main(["info", bucket.url("nothing.zarr"), *reach]) == 2
    assert "is not a zarr group" in capsys.readouterr().err
    for command in (["info", "s3://no-such-bucket/x"], ["resample", str(stack), "s3://no-such-bucket/x"],
                    ["check", "s3://no-such-bucket/x"]):  # fmt: skip
        assert main([*command, *reach]) == 2
        message = capsys.readouterr().err
        assert f"the bucket 'no-such-bucket' at {bucket.endpoint} does not exist" in message
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_no_access_says_what_to_set(status, bucket, proxy, small, capsys):
    """Reading, writing and checking alike; exit code 2."""
    proxy.faults["/"] = proxy.faults[""] = status
    reach = ["--storage-option", f"endpoint={proxy.url}"]
    for command in (["info", small], ["resample", small, bucket.url("o")], ["check", small]):
        assert main([*command, *reach]) == 2
        message = capsys.readouterr().err
        assert "denied" in message
        assert "AWS_ACCESS_KEY_ID" in message
        assert "hidden" not in message
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:9", "refused the connection"),
        ("http://nowhere.invalid:9", "no host of this name"),
    ],
)
def test_a_server_that_is_down(endpoint, reason, small, capsys, monkeypatch):
    """One line that names what could not be reached, and why; without asking again and again."""
    monkeypatch.setattr("chunkscale.storage.patience.FIRST_WAIT", timedelta(seconds=4))
    before = time.monotonic()
    assert main(["info", small, "--storage-option", f"endpoint={endpoint}"]) == 2
    assert time.monotonic() - before < 4
    (message,) = capsys.readouterr().err.splitlines()
    assert small in message
    assert endpoint in message
    assert reason in message
    assert message.count("cannot be reached") == 1


def test_credentials_are_found_as_usual(bucket, proxy, small, monkeypatch, tmp_path):
    """Environment, profile of the environment, profile of the options; a profile's endpoint."""
    (tmp_path / "aws-credentials").write_text(
        "".join(
            f"[{name}]\naws_access_key_id = AKID{name.upper()}\naws_secret_access_key = {SECRET}\n"
            for name in ("one", "two", "default")
        )
    )
    (tmp_path / "aws-config").write_text(f"[profile two]\nendpoint_url = {proxy.url}\n")

    def used(**options):
        proxy.requests.clear()
        opened_bucket.cache_clear()
        assert (whole(small, **options) != 0).all()
        found = {h.get("Authorization", "none=none").split("=")[1] for _, _, h, _ in proxy.requests}
        return {key.partition("/")[0] for key in found}

    bucket.publish("small.zarr")
    here = {"endpoint": proxy.url}
    assert used(**here) == {"AKIDENVIRONMENT"}
    assert used(**here, profile="one") == {"AKIDONE"}
    assert used(profile="two") == {"AKIDTWO"}
    assert used(**here, anon="true") == {"none"}
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert used(**here) == {"AKIDDEFAULT"}
    monkeypatch.setenv("AWS_PROFILE", "one")
    assert used(**here) == {"AKIDONE"}
    with pytest.raises(OptionError, match="three"):
        used(**here, profile="three")
    monkeypatch.delenv("AWS_PROFILE")
    (tmp_path / "aws-credentials").unlink()
    with pytest.raises(OptionError, match="no AWS credentials were found"):
        used(**here)


def test_no_secret_is_told(bucket, proxy, stack, tmp_path, capsys):
    """Neither metadata nor ledger nor log nor message nor what is sent to workers holds one."""
    target = bucket.url("out.zarr")
    reach = {"storage_options": {"endpoint": proxy.url}}
    source = bucket.upload(stack, "in.zarr")
    with pytest.raises(Interrupted):
        chunkscale.resample(
            source, target, progress=interrupt, log=tmp_path / "log", chunk=8, **reach
        )
    texts = list(bucket.stored("out.zarr").values())
    chunkscale.resample(source, target, resume=True, log=tmp_path / "log", **reach)
    texts += [*bucket.stored("out.zarr").values(), (tmp_path / "log").read_bytes()]
    image = chunkscale.open_image(source, **reach)
    texts += [pickle.dumps(image.array), repr(image.uri.options).encode()]
    proxy.faults["in.zarr/0/c/0/0/0"] = 403
    assert main(["check", source, "--debug", "--storage-option", f"endpoint={proxy.url}"]) == 3
    told = capsys.readouterr()
    texts += [told.out.encode(), told.err.encode()]
    for text in texts:
        assert SECRET.encode() not in text
        assert b"AKIDENVIRONMENT" not in text


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("ftp://host/x", {}, "scheme 'ftp' is not supported"),
        ("s3:///x", {}, "give it like s3://BUCKET/path"),
        ("s3://bucket/a/../b", {}, "give it like s3://BUCKET/path"),
        ("s3://bucket/x", {"endpiont": "x"}, "'endpiont' is unknown; known are endpoint"),
        ("s3://bucket/x", {"secret_access_key": SECRET}, "taken from the environment"),
        ("s3://bucket/x", {"endpoint": "localhost:9000"}, "not an http"),
        ("s3://bucket/x", {"endpoint": f"http://me:{SECRET}@host"}, "a user name or a password"),
        (f"s3://me:{SECRET}@bucket/x", {}, "a user name or a password"),
        (f"https://me:{SECRET}@host/x", {}, "a user name or a password"),
        ("s3://bucket/x", {"anon": "perhaps"}, "must be true or false"),
        ("s3://bucket/x", {"account": "a"}, "is not for s3"),
        ("az://bucket/x", {"profile": "a"}, "is not for az"),
    ],
)
def test_bad_urls_and_options(url, options, text, stack):
    """Refused before anything is asked, without repeating what may be a secret."""
    for call in (
        lambda: chunkscale.open_image(url, storage_options=options),
        lambda: chunkscale.resample(stack, url, storage_options=options),
    ):
        with pytest.raises(OptionError, match=text) as error:
            call()
        assert SECRET not in str(error.value)


def test_options_that_are_no_pairs(capsys):
    """On the command line."""
    assert main(["info", "s3://b/x", "--storage-option", SECRET]) == 2
    message = capsys.readouterr().err
    assert "endpoint=" in message
    assert SECRET not in message


@pytest.mark.parametrize("package", ["obstore", "botocore"])
def test_a_missing_package_names_the_extra(package, small, monkeypatch, bucket):
    """Exit by a clear error, not an ImportError."""
    for name in [package, *(n for n in sys.modules if n.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError, match=r"chunkscale\[cloud\]"):
        chunkscale.open_image(small, storage_options=bucket.options)


def test_the_options_reach_the_workers_of_a_cluster(bucket, stack, tmp_path):
    """Other processes get them with the job, not from their environment."""
    distributed = pytest.importorskip("distributed")
    source, target = bucket.upload(stack, "in.zarr"), bucket.url("out.zarr")
    chunkscale.resample(stack, tmp_path / "out.zarr")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        chunkscale.resample(source, target, client=client, storage_options=bucket.options)
    found = without_source(bucket.stored("out.zarr"))
    wanted = without_source(stored(tmp_path / "out.zarr"))
    assert {k: v for k, v in found.items() if k != "zarr.json"} == {
        k: v for k, v in wanted.items() if k != "zarr.json"
    }


def test_a_location_is_its_url(bucket):
    """It compares, prints and is stored as text, and keeps its options wherever it goes."""
    uri = normalise("s3://b//x/./y/", {"endpoint": "https://h:1/", "anonymous": "1"})
    assert uri == "s3://b/x/y"
    assert json.dumps({"uri": uri}) == '{"uri": "s3://b/x/y"}'
    for other in (
        pickle.loads(pickle.dumps(uri)), join(uri, "0"), above(uri),
        normalise(uri), root(uri),
    ):  # fmt: skip
        assert other.options == uri.options
        assert other.options.endpoint == "https://h:1"
        assert other.options.anon
    assert np.all([above(uri) == "s3://b/x", root(uri) == "s3://b"])


@pytest.fixture(params=["gs", "az"])
def cloud(request, monkeypatch):
    """Return a store of Google or Azure, its options, and a function that makes its URLs."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    account = {"client_email": "a", "private_key": "", "private_key_id": "", "disable_oauth": True}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    with clouds.cloud(request.param) as (server, options):
        yield server, {"storage_options": options}, lambda path: f"{request.param}://bucket/{path}"


@pytest.mark.parametrize("layout", ["sharded", "0.4"])
def test_google_and_azure(layout, cloud, stack, tmp_path, monkeypatch):
    """Write, interrupt, resume, check, overwrite: the objects are those of a folder."""
    server, options, url = cloud
    # The chunks of a shard have another order.
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", "zarr")
    chunkscale.resample(stack, tmp_path / "out.zarr", **LAYOUTS[layout])
    chunkscale.resample(tmp_path / "out.zarr", url("in é+#.zarr"), **LAYOUTS[layout], **options)
    with pytest.raises(Interrupted):
        chunkscale.resample(
            stack, url("out.zarr"), progress=interrupt, **LAYOUTS[layout], **options
        )
    chunkscale.resample(stack, url("out.zarr"), resume=True, **LAYOUTS[layout], **options)
    wanted = without_source(stored(tmp_path / "out.zarr"))
    assert without_source(server.stored("out.zarr")) == wanted
    report = chunkscale.check(url("out.zarr"), source=stack, **options)
    assert report.faults == ()
    chunkscale.resample(url("in é+#.zarr"), url("out.zarr"), overwrite=True, levels=1, **options)
    assert chunkscale.check(url("out.zarr"), source=url("in é+#.zarr"), **options)
    assert {name[0] for name in server.stored("out.zarr")} == {"0", "z"}


def test_google_and_azure_fail_clearly(cloud, stack, capsys):
    """Denied and failing chunks are errors, and missing buckets are named."""
    server, options, url = cloud
    chunkscale.resample(stack, url("in.zarr"), chunk=16, shard=0, **options)
    reach = [f"--storage-option={k}={v}" for k, v in options["storage_options"].items()]
    for status in (403, 500):
        server.faults = {"in.zarr/0/c/1/2/2": status}
        assert main(["check", url("in.zarr"), *reach]) == 3
        told = capsys.readouterr().out
        assert "chunk (1, 2, 2)" in told
        assert "denied" in told if status == 403 else "500" in told
    server.faults = {"zarr.json": 403}
    assert main(["info", url("in.zarr"), *reach]) == 2
    assert "denied" in capsys.readouterr().err
    for verb in ("info", "check"):
        assert main([verb, url("in.zarr").replace("bucket", "none"), *reach]) == 2
        assert "'none'" in capsys.readouterr().err


def test_anonymous_elsewhere(cloud, stack):
    """No credentials are sent, and none are looked for."""
    server, options, url = cloud
    chunkscale.resample(stack, url("in.zarr"), **options)
    server.requests.clear()
    assert (whole(url("in.zarr"), **options["storage_options"], anon=True) != 0).any()
    assert server.requests
    assert not [headers for *_, headers in server.requests if "Authorization" in headers]


def test_a_silent_server_is_given_up(proxy, small):
    """A chunk for which no answer ever comes is an error, after bounded waits."""
    proxy.faults["small.zarr/0/c/0/1/2"] = 600.0
    program = f"""
import chunkscale
from chunkscale.geometry.box import Box
from chunkscale.storage import patience
patience.REQUEST_SECONDS = 1
patience.RETRIES = 1
image = chunkscale.open_image({small!r}, storage_options={{"endpoint": {proxy.url!r}}})
try:
    image.array.read(Box(start=(0, 8, 16), stop=(3, 16, 24)))
except chunkscale.CorruptChunkError as error:
    assert error.transient
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert told.stderr == ""
    assert told.returncode == 0
    assert "chunk (0, 1, 2)" in told.stdout


# --- collections ---------------------------------------------------------------------------------


@pytest.fixture
def reached(port, monkeypatch):
    """Let plain URLs reach the endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    opened_bucket.cache_clear()


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_folder_of_collections_is_mirrored_between_buckets(version, bucket, tmp_path):
    """Listed as a local one, and the same documents come out, whatever lies beside them."""
    folder = tmp_path / "f"
    plates.plate(folder / "p.zarr", version, wells={"B/03": ["0", "1"], "C/01": ["0"]})
    plates.series(folder / "s.zarr", version, xml=plates.ome_xml(2))
    plates.image(folder / "a/img2", version)
    (folder / "notes.txt").write_text("text")
    url = bucket.upload(folder, "in")
    near, far = open_collection(folder), open_collection(url)
    told = []
    assert list(far.images(told.append)) == list(near.images())
    assert [n.text for n in told] == [f"left out: not an OME-Zarr image: 'notes.txt' (in {url!r})"]
    mirrored(folder, tmp_path / "out", version)
    mirrored(url, bucket.url("out"), version)
    found, expected = bucket.stored("out"), stored(tmp_path / "out")
    assert sorted(found) == sorted(expected)
    for name in ("p.zarr", "p.zarr/B/03", "s.zarr", "s.zarr/OME", "p.zarr/B"):
        for file in ("zarr.json",) if version == "0.5" else (".zattrs", ".zgroup"):
            assert found[f"{name}/{file}"] == expected[f"{name}/{file}"]
    assert found["s.zarr/OME/METADATA.ome.xml"] == expected["s.zarr/OME/METADATA.ome.xml"]


@pytest.mark.usefixtures("reached")
def test_a_mirror_in_a_bucket_is_continued_or_replaced_and_nothing_else(bucket, tmp_path):
    source = plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0", "1"]})
    url = bucket.url("out.zarr")
    fill(begin(source, url, existing=ON), source, ["B/03/0"])
    with pytest.raises(DestinationError, match="did not finish"):
        begin(source, url)
    assert open_collection(url) is None
    mirrored(source, url, existing=ON, patterns=["B/03/1"])
    assert list(open_collection(url).images()) == ["B/03/1"]
    bucket.put("out.zarr/B/03/mine.csv", b"1,2")
    before = bucket.stored("out.zarr")
    with pytest.raises(DestinationError, match=r"'B/03/mine\.csv'"):
        begin(source, url, existing=OVER)
    assert bucket.stored("out.zarr") == before
    bucket.delete("out.zarr/B/03/mine.csv")
    begin(source, url, "0.4", existing=OVER)
    assert sorted(bucket.stored("out.zarr")) == [".zattrs", ".zgroup"]


@pytest.mark.usefixtures("reached")
def test_what_a_server_refuses_or_fails_at_is_not_left_out(port, bucket, proxy, tmp_path):
    """A well that could not be read is in the list, and a list that could not be read fails."""
    source = plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0"], "B/04": ["0"]}, made=False)
    bucket.upload(source, "p.zarr")
    url = normalise(bucket.url("p.zarr"), {"endpoint": proxy.url})
    proxy.faults["B/04/zarr.json"] = 403
    told = []
    assert list(open_collection(url).images(told.append)) == ["B/03/0", "B/04"]
    assert "well 'B/04'" in told[0].text
    proxy.faults["B/04/zarr.json"] = 500
    assert list(open_collection(url).images(told.append)) == ["B/03/0", "B/04"]
    assert "cannot be reached" in told[1].text
    plates.series(tmp_path / "s.zarr", names="012", listed=False)
    bucket.upload(tmp_path / "s.zarr", "s.zarr")
    url = normalise(bucket.url("s.zarr"), {"endpoint": proxy.url})
    assert list(open_collection(url).images()) == ["0", "1", "2"]
    for name in ("s.zarr/1/zarr.json", "s.zarr/OME/zarr.json", "s.zarr/zarr.json"):
        proxy.faults = {name: 500}
        with pytest.raises(SourceNotFoundError, match="cannot be reached"):
            list(open_collection(url).images())


def test_a_zip_file_in_a_bucket_is_read_in_parts(make_image, noise, bucket, tmp_path):
    """It has the voxels of its folder, as long as it is the same; another one is never mixed in."""
    data = noise((6, 20, 31)) | 1
    path = make_image(data, (2.0, 0.5, 0.5), chunk=(3, 8, 8))
    with zipfile.ZipFile(tmp_path / "a.ozx", "w") as archive:
        for file in sorted(path.rglob("*")):
            archive.write(file, file.relative_to(path))
    url = bucket.url("a.ozx")
    bucket.put("a.ozx", (tmp_path / "a.ozx").read_bytes())
    assert_array_equal(whole(url, **bucket.options), data)
    image = chunkscale.open_image(url, storage_options=bucket.options)
    bucket.put("a.ozx", (tmp_path / "a.ozx").read_bytes()[::-1])
    with pytest.raises(CorruptChunkError, match="has been replaced"):
        image.array.read(Box(start=(0, 0, 0), stop=data.shape))
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        chunkscale.open_image(bucket.url("c.ozx"), storage_options=bucket.options)
