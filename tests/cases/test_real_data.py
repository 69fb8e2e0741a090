"""Real files, from many writers: each opens, or is refused for a reason that is known.

The files lie beside a checkout, not in it (see their README); without them all of this is skipped.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

from chunkscale.api.describing import info
from chunkscale.api.images import check, open_image
from chunkscale.api.planning import plan_resampling
from chunkscale.api.resampling import resample
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleWarning, MetadataError, MultipleImagesError, NotAnImageError
from chunkscale.geometry.box import Box
from chunkscale.output.places import discard
from chunkscale.sources.ome_zarr import open_ome_zarr
from chunkscale.storage.engine import StoreIO

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real files beside the checkout")

#: 500 MB decoded.
LARGE = "fiji_java/pyramid_testing/pyramid_v4.zarr"
#: Versions 0.1 and 0.2 have no place for a voxel size.
WITHOUT_VOXEL_SIZE = ("ome_zarr_py_old/v1", "ome_zarr_py_old/v2")


def attributes(folder):
    """Return the NGFF attributes of a group, read without any library."""
    if (folder / "zarr.json").is_file():
        found = json.loads((folder / "zarr.json").read_text()).get("attributes", {})
    elif (folder / ".zattrs").is_file():
        found = json.loads((folder / ".zattrs").read_text())
    else:
        found = {}
    return found.get("ome", found)


def groups_with(*keys):
    if not DATA.is_dir():
        return []
    folders = {p.parent for n in (".zattrs", "zarr.json") for p in DATA.rglob(n)}
    return sorted(
        str(f.relative_to(DATA))
        for f in folders
        if "spec_json" not in f.parts and any(k in attributes(f) for k in keys)
    )


def parameter(name):
    """Ignore what zarr-python says of arrays with an empty list of filters, as zarr-java's."""
    arrays = (DATA / name).rglob(".zarray")
    if any(json.loads(p.read_text())["filters"] == [] for p in arrays):
        return pytest.param(name, marks=pytest.mark.filterwarnings("ignore:Found an empty list"))
    return name


ALL = groups_with("multiscales")
IMAGES = [parameter(name) for name in ALL if name not in WITHOUT_VOXEL_SIZE]
SMALL = [p for p in IMAGES if (p if isinstance(p, str) else p.values[0]) != LARGE]
COLLECTIONS = groups_with("plate", "well", "labels", "bioformats2raw.layout")
PAIRS = [
    *(p for p in ALL if p.startswith("fiji_java") and "_v4.ome" in p),
    *(p for p in ALL if p.endswith("_0.4")),
]


def twin(name):
    """Return the path of the 0.5 version of a 0.4 image."""
    return name.replace("_v4.ome", "_v5.ome").replace("_0.4", "_0.5")


#: What is announced of some of them before a run.
ANNOUNCED = (
    "fiji_java/5d_testing/5d_dataset",  # defaultZ beyond its planes
    "mobie_zarr/mri-stack.ome.zarr",  # an empty list of transformations
    "zarr_java/ome/v",  # channels without a window
)


def resample_announced(name, *arguments, **options):
    """Resample; warnings are expected of those that have something to announce, and of no other."""
    if not name.startswith(ANNOUNCED) or "/labels/" in name:
        return resample(DATA / name, *arguments, **options)
    with pytest.warns(
        ChunkscaleWarning, match="'omero' does not follow the specification|no scale"
    ):
        return resample(DATA / name, *arguments, **options)


def whole(array):
    return array.read(Box(start=(0,) * len(array.shape), stop=array.shape))


def test_the_files_are_all_there():
    """An empty list of files would make every other test here pass."""
    assert len(ALL) >= 40
    assert len(COLLECTIONS) >= 20
    assert LARGE in ALL


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_opens(name, capsys):
    """Axes, sizes and levels are those of its metadata, and `info` prints them."""
    path = DATA / name
    image = open_image(path)
    entry = attributes(path)["multiscales"][0]
    assert len(image.multiscale.datasets) == len(entry["datasets"])
    assert list(image.grid.shape) == list(image.array.shape)
    assert min(image.grid.voxel_size) > 0
    if all(isinstance(axis, dict) for axis in entry.get("axes", [])):
        assert [a.name for a in image.grid.axes] == [a["name"] for a in entry["axes"]]
        assert [a.unit for a in image.grid.axes] == [a.get("unit") for a in entry["axes"]]
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == list(image.grid.shape)
    assert main(["plan", str(path)]) == 0


@pytest.mark.parametrize("name", SMALL)
def test_every_level_reads_as_zarr_python_reads_it(name):
    """Both engines, every level that is there: the same voxels."""
    image = open_image(DATA / name)
    other = open_ome_zarr(DATA / name, io=StoreIO(threads=1, engine="zarr"))
    for level in range(len(image.multiscale.datasets)):
        fast, slow = image.level(level), other.level(level)
        assert slow.engine == "zarr"
        expected = zarr.open_array(fast.uri, mode="r")[...]
        assert_array_equal(whole(fast), expected)
        assert_array_equal(whole(slow), expected)


@pytest.mark.filterwarnings("ignore:.*(left out|no stored chunk)")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("name", SMALL)
def test_every_small_image_is_resampled_and_checked(name, version, tmp_path):
    """Non-integer steps, with levels; the check against the source finds nothing."""
    out = tmp_path / "out.zarr"
    source = open_image(DATA / name)
    resample_announced(name, out, zoom=1.3, levels=2, ome_zarr_version=version, workers=2)
    result = open_image(out)
    for i, axis in enumerate(source.grid.axes):
        if axis.kind != "space":
            assert result.grid.shape[i] == source.grid.shape[i]
            assert result.grid.voxel_size[i] == source.grid.voxel_size[i]
    if source.is_label:
        assert np.isin(whole(result.array), whole(source.array)).all()
    report = check(out, source=DATA / name)
    assert report.faults == ()
    assert report.voxels_compared > 0


@pytest.mark.parametrize("name", PAIRS)
def test_both_versions_of_an_image_are_one(name, tmp_path):
    """0.4 and 0.5: the same grid, the same voxels at every level, the same result."""
    images = [open_image(DATA / n) for n in (name, twin(name))]
    assert [i.array.zarr_format for i in images] == [2, 3]
    assert images[0].grid == images[1].grid
    for level in range(len(images[0].multiscale.datasets)):
        a, b = (whole(i.level(level)) for i in images)
        assert a.any()
        assert_array_equal(a, b)
    for image, out in zip((name, twin(name)), ("a", "b"), strict=True):
        resample_announced(image, tmp_path / out, zoom=0.7, levels=1)
    a, b = (whole(open_image(tmp_path / out).array) for out in ("a", "b"))
    assert_array_equal(a, b)


@pytest.mark.parametrize("name", [p for p in COLLECTIONS if p not in ALL])
def test_collections_list_their_images(name, tmp_path):
    """Never silently the first; every listed path is an image."""
    with pytest.raises(MultipleImagesError) as error:
        open_image(DATA / name)
    assert info(DATA / name)["images"] == list(error.value.paths)
    missing = [p for p in error.value.paths if not (DATA / name / p).is_dir()]
    assert not missing
    for path in error.value.paths:
        assert path in str(error.value)
        assert open_image(DATA / name / path).grid.ndim >= 2
    with pytest.raises(MultipleImagesError):
        resample(DATA / name, tmp_path / "out.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WITHOUT_VOXEL_SIZE)
def test_versions_without_a_voxel_size_need_one(name, tmp_path):
    """Refused with the remedy; with it, they work."""
    with pytest.raises(MetadataError, match="source_voxel_size"):
        open_image(DATA / name)
    sizes = {"z": 2.0, "y": 0.5, "x": 0.5}
    image = open_image(DATA / name, source_voxel_size=sizes)
    assert image.grid.voxel_size == (1.0, 1.0, 2.0, 0.5, 0.5)
    assert main([
        "resample", str(DATA / name), str(tmp_path / "out.zarr"), "--levels", "1",
        "--voxel-size", "1", "--source-voxel-size", "z=2,y=0.5,x=0.5",
    ]) == 0  # fmt: skip
    assert check(tmp_path / "out.zarr", source=DATA / name)


@pytest.mark.parametrize(
    "name",
    ["ngff_challenge/hcs.zarr/A", "ngio/v04/images/test_image_yx.zarr/tables", "tiff_mobie"],
)
def test_what_is_no_image_is_refused(name):
    """Rows of plates, tables, and folders of files that are no planes of one image."""
    with pytest.raises((NotAnImageError, FileNotFoundError, MetadataError)):
        open_image(DATA / name)


def test_label_images_of_all_writers_are_known():
    """Also those that only their place tells (zarr-java)."""
    found = [name for name in ALL if Path(name).parent.name == "labels"]
    assert len(found) >= 10
    for name in found:
        if "zarr_java/ome/v0.4" not in name:
            assert plan_resampling(DATA / name).method == "nearest"


def test_images_without_chunks_are_fill_value():
    """Those of ngio have metadata only."""
    for name in (n for n in ALL if n.startswith("ngio") and "labels" not in n):
        image = open_image(DATA / name)
        assert not whole(image.array).any()


@pytest.mark.filterwarnings("ignore:Found an empty list")
def test_an_anisotropic_stack_becomes_isotropic(tmp_path):
    """The MRI stack: 27 planes of 5 mm make 135 of 1 mm; the unit "pixel" is kept."""
    name = "mobie_zarr/mri-stack.ome.zarr"
    path = DATA / name
    resample_announced(name, tmp_path / "out.zarr", source_voxel_size={"z": 5.0})
    image = open_image(tmp_path / "out.zarr")
    assert image.grid.shape == (135, 226, 186)
    assert image.grid.voxel_size == (1.0, 1.0, 1.0)
    assert image.grid.translation == (-2.0, 0.0, 0.0)
    assert image.grid.axes[0].unit == "pixel"
    assert check(tmp_path / "out.zarr", source=path)
    source = whole(open_image(path).array)
    assert_array_equal(whole(image.array)[2::5], source)


ALLOWED = 500 * 2**20
MEASURED = """
import sys
from chunkscale.cli.main import main
code = main(sys.argv[1:])
# Not ru_maxrss, which a process inherits from the one that started it.
status = open("/proc/self/status").read()
print("peak", int(status.split("VmHWM:")[1].split()[0]) * 1024)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def large_run(tmp_path_factory):
    """Resample the large pyramid with 500 MiB; return the output and the peak memory."""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    out = tmp_path_factory.mktemp("large") / "out.zarr"
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, "resample", str(DATA / LARGE), str(out),
         "--memory", str(ALLOWED), "--workers", "2", "--codec", "blosc-lz4:1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    yield out, int(run.stdout.rsplit("peak", 1)[1])
    discard(str(out))


def test_half_a_gigabyte_in_bounded_memory(large_run):
    """Peak memory stays below level 0 alone, read or written, and every corner is right."""
    out, peak = large_run
    image, source = open_image(out), open_image(DATA / LARGE)
    assert peak < image.grid.size
    for start in itertools.product(*((0, n - 40) for n in source.grid.shape)):
        box = Box(start=start, stop=tuple(a + 40 for a in start))
        assert_array_equal(image.array.read(box), source.array.read(box))


def test_the_promise_holds_where_source_chunks_are_large(large_run):
    """Chunks of 7.5 MiB under regions of 2 MiB."""
    assert large_run[1] <= ALLOWED
