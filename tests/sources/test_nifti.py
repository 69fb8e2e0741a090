"""NIfTI: an image is what nibabel's closest canonical one is, transposed to z, y, x."""

import gzip
import itertools
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import chunkscale
from chunkscale.cli.main import main
from chunkscale.geometry.box import Box, whole

SIZES = (0.2, 0.5, 2.0)
PERMUTATIONS = list(itertools.permutations(range(3)))
PLAIN = np.diag([0.5, 0.5, 2.0, 1.0])


def affine_of(permutation, signs, origin=(-10.3, 20.1, 5.0)):
    """Return an affine whose axis of the world `i` is axis `permutation[i]` of the file."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for row, column in enumerate(permutation):
        affine[row, column] = signs[row] * SIZES[column]
    affine[:3, 3] = origin
    return affine


def saved(path, data, affine=PLAIN, *, unit="mm", time="sec", kind=nibabel.Nifti1Image, **fields):
    image = kind(data, affine)
    image.header.set_xyzt_units(unit, time)
    for key, value in fields.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def voxels(image):
    return image.array.read(whole(image.array.shape))


@st.composite
def files(draw):
    """Draw what a file may be: data, affine, how it is stored, and a box of it."""
    shape = tuple(draw(st.integers(1, 6)) for _ in range(draw(st.sampled_from([3, 3, 4, 5]))))
    dtype = draw(st.sampled_from(["<u1", "<i2", ">i2", "<f4", ">f4", "<u2", "<i4", "<f8", "<i8"]))
    data = np.random.default_rng(len(shape)).integers(0, 100, shape).astype(dtype)
    signs = draw(st.tuples(*[st.sampled_from([1, -1])] * 3))
    return {
        "data": data,
        "affine": affine_of(draw(st.sampled_from(PERMUTATIONS)), signs),
        "end": draw(st.sampled_from([".nii", ".nii.gz", ".hdr"])),
        "kind": draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image])),
        "quaternion": draw(st.booleans()),
        "scaling": draw(st.sampled_from([None, (2.0, -3.0), (0.3, 0.0), (1.0, 7.0)])),
        "cut": draw(st.tuples(*[st.tuples(st.floats(0, 1), st.floats(0, 1))] * 5)),
    }


@given(files())
@settings(max_examples=60)
def test_voxels_and_positions_are_those_of_the_closest_canonical_image(tmp_path_factory, file):
    """Whatever the orientation, byte order, scaling and form of the file; in any box, too."""
    data, affine = file["data"], file["affine"]
    path = tmp_path_factory.mktemp("nifti") / f"image{file['end']}"
    kind = file["kind"]
    if file["end"] == ".hdr":
        kind = {"Nifti1Image": nibabel.Nifti1Pair, "Nifti2Image": nibabel.Nifti2Pair}[kind.__name__]
    made = kind(data, affine, dtype=data.dtype)
    if file["quaternion"]:
        made.set_sform(None, 0)
        made.set_qform(affine, 1)
    if file["scaling"]:
        made.header.set_slope_inter(*file["scaling"])
    nibabel.save(made, path)

    stored = nibabel.load(path)
    canonical = nibabel.as_closest_canonical(stored)
    wanted = np.asarray(canonical.dataobj)
    wanted = wanted.reshape(*wanted.shape, *[1] * (5 - wanted.ndim))
    wanted = wanted.transpose(3, 4, 2, 1, 0)  # t, c, z, y, x
    wanted = wanted.squeeze(tuple(i for i in (0, 1) if wanted.shape[i] == 1))

    image = chunkscale.open_image(path)
    assert image.grid.names.endswith("zyx")
    assert image.array.shape == image.grid.shape == wanted.shape
    assert image.array.dtype == wanted.dtype.newbyteorder("=")
    assert_array_equal(voxels(image), wanted)
    assert_allclose(image.grid.voxel_size[-3:], np.diag(canonical.affine)[2::-1], rtol=1e-6)
    assert_allclose(image.grid.translation[-3:], canonical.affine[2::-1, 3], rtol=1e-6, atol=1e-5)
    assert set(image.grid.voxel_size[-3:]) == set(SIZES)  # decimal, although stored in 32 bits

    ends = [
        sorted(int(f * n) for f in cut) for cut, n in zip(file["cut"], wanted.shape, strict=False)
    ]
    box = Box(start=tuple(a for a, _ in ends), stop=tuple(max(b, a + 1) for a, b in ends))
    box = box.clipped(whole(wanted.shape))
    out = np.empty(box.shape, image.array.dtype)
    assert image.array.read(box, out) is out
    assert_array_equal(out, wanted[box.slices])


@pytest.mark.parametrize(
    ("unit", "time", "wanted"),
    [
        ("mm", "sec", ("millimeter", "second")),
        ("micron", "msec", ("micrometer", "millisecond")),
        ("meter", "usec", ("meter", "microsecond")),
        ("unknown", "unknown", (None, None)),
    ],
)
def test_units_and_time(tmp_path, noise, unit, time, wanted):
    """The fourth axis is time, with its step and its beginning."""
    path = saved(tmp_path / "a.nii", noise((4, 5, 3, 6)), unit=unit, time=time, toffset=1.5)
    header = nibabel.load(path).header
    header["pixdim"][4] = 2.5
    nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), PLAIN, header), path)
    grid = chunkscale.open_image(path).grid
    assert grid.names == "tzyx"
    assert (grid.axes[-1].unit, grid.axes[0].unit) == wanted
    assert (grid.voxel_size[0], grid.translation[0]) == (2.5, 1.5)


def test_a_unit_is_taken_where_the_file_has_none(tmp_path, noise):
    """And refused where it has another one."""
    path = saved(tmp_path / "a.nii", noise((4, 5, 3)), unit="unknown")
    image = chunkscale.open_image(path, source_unit="micrometer", source_voxel_size={"z": 3})
    assert {axis.unit for axis in image.grid.axes} == {"micrometer"}
    assert image.grid.voxel_size == (3.0, 0.5, 0.5)
    path = saved(tmp_path / "b.nii", noise((4, 5, 3)))
    assert chunkscale.open_image(path, source_unit="mm").grid.axes[0].unit == "millimeter"
    with pytest.raises(chunkscale.OptionError, match=r"'micrometer' differs .* 'millimeter'"):
        chunkscale.open_image(path, source_unit="micrometer")


def test_a_file_that_says_no_position_has_none(tmp_path, noise):
    """Without a code nibabel centres the image and turns x around, which no file says."""
    data = noise((4, 5, 3))
    image = nibabel.Nifti1Image(data, None)
    image.header.set_zooms((0.5, 0.25, 2))
    nibabel.save(image, tmp_path / "a.nii")
    found = chunkscale.open_image(tmp_path / "a.nii")
    assert found.grid.voxel_size == (2, 0.25, 0.5)
    assert found.grid.translation == (0, 0, 0)
    assert "ome" not in found.attributes
    assert_array_equal(voxels(found), data.T)


def sizeless(path, shape, pixdim):
    """Write a file whose header says these voxel sizes, and no position."""
    image = nibabel.Nifti1Image(np.ones(shape, "uint8"), None)
    content = bytearray(image.to_bytes())
    content[80:92] = np.array(pixdim, "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("end", ["nii", "nii.gz"])
def test_a_voxel_size_of_0_is_asked_for_and_not_made_1(tmp_path, end):
    """As nibabel makes it; the remedy works, with the sizes that were given already."""
    path = sizeless(tmp_path / f"a.{end}", (5, 6, 7), (0, 0.5, 0))
    with pytest.raises(chunkscale.OptionError, match=r"0 along z, x .*source_voxel_size='z=1,x=1'"):
        chunkscale.open_image(path)
    with pytest.raises(chunkscale.OptionError, match="source_voxel_size='z=3,x=1'"):
        chunkscale.open_image(path, source_voxel_size="z=3")
    image = chunkscale.open_image(path, source_voxel_size="z=3,x=2")
    assert image.voxel_size == {"z": 3.0, "y": 0.5, "x": 2.0}


def test_a_plane_without_a_thickness_gets_one_with_a_word(tmp_path):
    image = chunkscale.open_image(sizeless(tmp_path / "a.nii", (5, 6), (0.25, 0.5, 0)))
    assert image.voxel_size == {"z": 1.0, "y": 0.5, "x": 0.25}
    assert "one voxel along z" in str(image.notices[0])


def test_extensions_and_slices_of_a_header_are_told_to_be_left(tmp_path, noise):
    """What describes the image stays in its attributes."""
    image = nibabel.Nifti1Image(noise((4, 5, 3)), PLAIN)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"a comment"))
    image.header["slice_code"], image.header["intent_p1"] = 1, 3
    nibabel.save(image, tmp_path / "a.nii")
    found = chunkscale.open_image(tmp_path / "a.nii")
    texts = [notice.text for notice in found.notices if notice.kind == "lost"]
    assert any("extensions (codes 6)" in text for text in texts)
    assert any("slice_code" in text for text in texts)
    assert found.attributes["nifti"]["intent_p1"] == 3


def turned(degrees):
    a = np.deg2rad(degrees)
    turn = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.5, 0.5, 2])
    return affine


def test_oblique_images_are_refused_with_a_way_on(tmp_path, noise):
    """Their angle is named; what rounding turns is taken."""
    data = noise((40, 50, 3))
    path = saved(tmp_path / "a.nii", data, turned(5))
    with pytest.raises(chunkscale.MetadataError, match="rotated 5 degrees") as error:
        chunkscale.open_image(path)
    way = str(error.value).rpartition("as an array: ")[2]
    code, _, sizes = way.partition(", with source_voxel_size ")
    array = eval(code, {"numpy": np, "nibabel": nibabel})
    plan = chunkscale.plan_resampling(array, source_voxel_size=sizes)
    assert plan.source_grid.voxel_size == (2, 0.5, 0.5)
    assert chunkscale.open_image(saved(path, data, turned(1e-5))).grid.voxel_size == (2, 0.5, 0.5)


def test_colors_and_spectra_are_refused_with_a_way_on(tmp_path, noise):
    """By name."""
    data = np.zeros((4, 5, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["G"] = noise((4, 5, 3), "uint8")
    path = saved(tmp_path / "a.nii", data)
    with pytest.raises(chunkscale.NotAnImageError, match=r"colors \(RGB\)") as error:
        chunkscale.open_image(path)
    code, _, where = str(error.value).rpartition("axes='czyx': ")[2].partition(" of data = ")
    names = {"numpy": np, "nibabel": nibabel}
    array = eval(code, {**names, "data": eval(where, names)})
    assert_array_equal(array[1], data["G"].T)
    chunkscale.plan_resampling(array, source_voxel_size=1, axes="czyx")
    path = saved(tmp_path / "b.nii", noise((4, 5, 3, 6)), time="hz")
    with pytest.raises(chunkscale.NotAnImageError, match="spectrum") as error:
        chunkscale.open_image(path)
    array = eval(str(error.value).rpartition("axes='czyx': ")[2], names)
    assert chunkscale.plan_resampling(array, source_voxel_size=1, axes="czyx")
    with pytest.raises(chunkscale.NotAnImageError, match=r"shape \(2, 2, 2, 2, 2, 2\)"):
        chunkscale.open_image(saved(tmp_path / "c.nii", noise((2,) * 6)))


def test_what_is_no_nifti_is_refused(tmp_path, noise):
    """Analyze files, other content, what is missing, and images in a file that holds one."""
    nibabel.save(nibabel.AnalyzeImage(noise((4, 5, 3), "int16"), PLAIN), tmp_path / "a.hdr")
    with pytest.raises(chunkscale.NotAnImageError, match="AnalyzeImage") as error:
        chunkscale.open_image(tmp_path / "a.hdr")
    assert "Nifti1Image.from_image(nibabel.load(path))" in str(error.value)
    made = nibabel.Nifti1Image.from_image(nibabel.load(tmp_path / "a.hdr"))
    nibabel.save(made, tmp_path / "image.nii")
    assert chunkscale.open_image(tmp_path / "image.nii").grid.shape == (3, 5, 4)
    (tmp_path / "b.nii").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    with pytest.raises(chunkscale.NotAnImageError, match="is named like a NIfTI file and is a pic"):
        chunkscale.open_image(tmp_path / "b.nii")
    with pytest.raises(chunkscale.SourceNotFoundError, match="no file"):
        chunkscale.open_image(tmp_path / "c.nii")
    with pytest.raises(chunkscale.SourceNotFoundError, match="with one image"):
        chunkscale.open_image(f"{tmp_path}/image.nii/1")
    saved(tmp_path / "d.hdr", noise((4, 5, 3)), kind=nibabel.Nifti1Pair)
    os.remove(tmp_path / "d.img")
    with pytest.raises(chunkscale.SourceNotFoundError, match=r"d\.img"):
        chunkscale.open_image(tmp_path / "d.hdr")


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_torn_files_are_named(tmp_path, noise, end):
    """When they are opened, or, where that cannot be known before, when they are read."""
    path = saved(tmp_path / f"a{end}", noise((20, 20, 20)))
    os.truncate(path, os.path.getsize(path) - 100)
    with pytest.raises(
        chunkscale.ChunkscaleError, match=r"has \d+ bytes|cannot be unpacked"
    ) as error:
        voxels(chunkscale.open_image(path))
    assert "restore it" in str(error.value)


def test_labels_and_what_has_no_place_are_carried_over(tmp_path):
    """Label intent means label ids; description and codes are in the output's attributes."""
    data = np.arange(4 * 5 * 3, dtype="i4").reshape(4, 5, 3)
    path = saved(tmp_path / "a.nii", data, intent_code=1002, descrip=b"made by hand")
    run = chunkscale.resample(path, tmp_path / "out.zarr", voxel_size=1, levels=1)
    made = chunkscale.open_image(run.path)
    assert made.attributes["nifti"]["descrip"] == "made by hand"
    axes = made.attributes["ome"]["multiscales"][0]["axes"]
    assert [axis["orientation"]["value"] for axis in axes] == [
        "inferior-to-superior",
        "posterior-to-anterior",
        "left-to-right",
    ]
    assert chunkscale.check(run.path, source=path)
    assert made.attributes["chunkscale"]["method"] == "nearest"


def test_scaled_values_and_two_positions_are_told_of(tmp_path, noise):
    """What changes the type or what contradicts itself is a notice."""
    image = nibabel.Nifti1Image(noise((4, 5, 3), "int16"), PLAIN)
    image.header.set_slope_inter(0.5, 1)
    image.set_sform(PLAIN, 1)
    moved = PLAIN.copy()
    moved[0, 3] += 3
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "a.nii")
    found = chunkscale.open_image(tmp_path / "a.nii")
    kinds = [notice.kind for notice in found.notices]
    assert kinds == ["metadata", "scaled"]
    assert "up to 3 apart" in str(found.notices[0])
    assert found.array.dtype == "float64"
    assert found.grid.translation == (0, 0, 0)


def test_the_command_line_resamples_checks_and_resumes(tmp_path, noise, capsys):
    """A packed file with mirrored axes, end to end."""
    path = str(saved(tmp_path / "a.nii.gz", noise((20, 24, 6)), affine_of((0, 1, 2), (-1, -1, 1))))
    out = str(tmp_path / "out.zarr")
    assert main(["info", path]) == 0
    assert main(["plan", path]) == 0
    assert main(["resample", path, out]) == 0
    assert main(["resample", path, out, "--resume"]) == 0
    assert main(["check", out, "--source", path]) == 0
    assert "OK: " in capsys.readouterr().out
    grid = chunkscale.open_image(out).grid
    assert grid.voxel_size == (0.2, 0.2, 0.2)
    assert {axis.unit for axis in grid.axes} == {"millimeter"}


def test_large_files_are_read_in_boxes(tmp_path):
    """Of a (sparse) file of 20 GB a box takes the memory of the box."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype("u1")
    header.set_data_shape((4000, 5000, 1000))
    header.set_sform(PLAIN, 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "large.nii"
    with open(path, "wb") as file:
        header.write_to(file)
        file.truncate(352 + 4000 * 5000 * 1000)
        file.seek(352 + 4000 * 5000 * 1000 - 1)
        file.write(b"\x07")
    image = chunkscale.open_image(path)
    box = Box(start=(990, 4990, 3990), stop=(1000, 5000, 4000))
    image.array.read(box)
    tracemalloc.start()
    found = image.array.read(box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[-1, -1, -1] == 7
    assert found.sum() == 7
    assert peak < 2**20


def test_packed_files_are_unpacked_once_beside_the_memory(tmp_path, noise):
    """By one of the threads that read; nothing is left of it."""
    data = noise((128, 128, 128), "int16")
    path = saved(tmp_path / "a.nii.gz", data)
    image = chunkscale.open_image(path)
    tracemalloc.start()
    box = Box(start=(100, 0, 0), stop=(101, 128, 128))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: image.array.read(box), range(8)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all((one == data.T[box.slices]).all() for one in found)
    assert peak < data.nbytes / 2


def test_a_file_that_is_replaced_before_it_is_read_is_named(tmp_path):
    """Its voxels are not taken for those of the one that was opened."""
    path = tmp_path / "a.nii"
    nibabel.Nifti1Image(np.zeros((4, 5, 6), "u1"), np.eye(4)).to_filename(path)
    image = chunkscale.open_image(path)
    nibabel.Nifti1Image(np.ones((4, 5, 7), "u1"), np.eye(4)).to_filename(path)
    with pytest.raises(chunkscale.RegionError, match="has been replaced since"):
        np.asarray(image)
