"""What a TIFF file says, and an output cannot hold or has to make up, is told."""

import json
import struct

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale import OptionError

STACK = (np.arange(3 * 20 * 30) % 251).astype("uint16").reshape(3, 20, 30)
SIZES = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}


def told(image, kind):
    return [notice.text for notice in image.notices if notice.kind == kind]


def ome(path, data, axes, **metadata):
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes, **SIZES, **metadata})
    return chunkscale.open_image(path)


def windows(image):
    return [channel["window"] for channel in image.attributes["omero"]["channels"]]


def test_the_step_and_position_of_a_single_plane_are_told(tmp_path):
    """And those of a single time point; an image without these axes has no place for them."""
    plane = {"PositionX": [0.0], "PositionXUnit": ["µm"], "PositionZ": [3.0]}
    image = ome(
        tmp_path / "a.ome.tif",
        STACK[0],
        "YX",
        PhysicalSizeZ=1.5,
        TimeIncrement=5.0,
        Plane=plane | {"PositionZUnit": ["µm"]},
    )
    assert image.axes == "yx"
    texts = told(image, "lost")
    assert any("no axis z" in t and "step 1.5 µm, position 3 µm" in t for t in texts)
    assert any("no axis t" in t and "step 5 second" in t for t in texts)
    image = ome(tmp_path / "b.ome.tif", STACK, "ZYX", PhysicalSizeZ=1.5)
    assert not told(image, "lost")
    plane = {"PositionZ": [3.0], "PositionZUnit": ["µm"]}
    image = ome(tmp_path / "c.ome.tif", STACK[0], "YX", Plane=plane)
    assert any("positions of planes along z" in text for text in told(image, "lost"))


def test_floats_are_shown_in_a_range_that_is_made_up_with_a_word_alone(tmp_path):
    """Integers have the range of their type; what ImageJ says of floats is taken as it is."""
    channels = {"Channel": {"Name": ["a", "b"]}}
    image = ome(tmp_path / "f.ome.tif", STACK[:2].astype("float32"), "CYX", **channels)
    assert image.channels == ["a", "b"]
    assert windows(image) == [{"min": 0, "max": 1, "start": 0, "end": 1}] * 2
    assert len(told(image, "window")) == 1
    with pytest.warns(chunkscale.errors.ChunkscaleWarning, match="display range of its floats"):
        chunkscale.resample(image, tmp_path / "out.zarr", voxel_size=0.4)
    image = ome(tmp_path / "i.ome.tif", STACK[:2], "CYX", **channels)
    assert windows(image) == [{"min": 0, "max": 65535, "start": 0, "end": 65535}] * 2
    assert not told(image, "window")
    shown = {"axes": "ZYX", "unit": "um", "min": 5.0, "max": 90.0}
    path = tmp_path / "j.tif"
    tifffile.imwrite(path, STACK.astype("float32"), imagej=True, resolution=(5, 5), metadata=shown)
    image = chunkscale.open_image(path)
    assert windows(image) == [{"min": 5.0, "max": 90.0, "start": 5.0, "end": 90.0}]
    assert not told(image, "window")


def test_two_samples_are_not_red_and_green(tmp_path):
    """Nor three that the pages do not call colours."""
    for samples, photometric, names in (
        (2, "minisblack", ["x 1", "x 2"]),
        (3, "minisblack", ["x 1", "x 2", "x 3"]),
        (3, "rgb", ["x red", "x green", "x blue"]),
    ):
        path = tmp_path / f"{samples}{photometric}.ome.tif"
        data = np.moveaxis(STACK, 0, -1)[..., :samples].astype("uint8")
        metadata = {"axes": "YXS", **SIZES, "Channel": {"Name": "x"}}
        tifffile.imwrite(
            path, data, ome=True, photometric=photometric, planarconfig="contig", metadata=metadata
        )
        image = chunkscale.open_image(path)
        assert image.channels == names
        assert "RGB" not in " ".join(map(str, image.notices))


def test_a_file_is_parsed_once(tmp_path, monkeypatch):
    """Also where nobody says which image in it is meant, and where it has several."""
    path, opened, init = tmp_path / "a.tif", [], tifffile.TiffFile.__init__
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": "ZYX"})

    def counted(self, *args, **options):
        opened.append(args)
        init(self, *args, **options)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", counted)
    chunkscale.open_image(path, source_voxel_size=1)
    assert len(opened) == 1
    with tifffile.TiffWriter(path) as tif:
        for shape in ((20, 30), (40, 30)):
            tif.write(np.zeros(shape, "uint8"), photometric="minisblack")
    opened.clear()
    with pytest.raises(chunkscale.MultipleImagesError, match=r"0 \(20 x 30 uint8\)"):
        chunkscale.open_image(path)
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("labels", "channels"),
    [
        (["DAPI", "GFP"] * 3, ["DAPI", "GFP"]),
        (["z1", "z1", "z2", "z2", "z3", "z3"], []),
        (["DAPI", ""] * 3, []),
    ],
    ids=str,
)
def test_labels_of_imagejs_planes_are_names_of_channels_or_told(labels, channels, tmp_path):
    """Names they are where all planes of a channel have the same one."""
    data = np.zeros((3, 2, 8, 9), "uint8")
    said = {"axes": "ZCYX", "spacing": 2.0, "unit": "um", "Labels": labels}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, imagej=True, resolution=(2.0, 2.0), metadata=said)
    image = chunkscale.open_image(path)
    assert image.channels == channels
    is_told = any("the labels of its planes" in text for text in told(image, "lost"))
    assert is_told == (not channels)


def test_a_unit_of_imagej_that_is_not_known_is_told(tmp_path):
    for unit, known in (("thing", False), ("pixel", True), ("um", True)):
        path = tmp_path / f"{unit}.tif"
        more = {"axes": "ZYX", "unit": unit, "spacing": 1.0}
        tifffile.imwrite(path, STACK, imagej=True, resolution=(5, 5), metadata=more)
        image = chunkscale.open_image(path, source_voxel_size=1)
        assert [unit in text for text in told(image, "unit")] == [True] * (not known)


def test_a_unit_that_the_user_says_is_spelled_as_ome_zarr_has_it(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": "ZYX"})
    for said, written in (("um", "micrometer"), ("nm", "nanometer"), ("furlong", "furlong")):
        image = chunkscale.open_image(path, source_voxel_size=1, source_unit=said)
        assert {axis.unit for axis in image.grid.axes} == {written}


def lsm(path):
    """Write a stack as LSM has it: each plane with its thumbnail, and sizes in a record."""
    numbers = {"MagicNumber": 0x0400494C, "DimensionX": 30, "DimensionY": 20, "DimensionZ": 3}
    numbers |= {"DimensionChannels": 1, "DimensionTime": 1, "DataType": 2}
    numbers |= {"VoxelSizeX": 2e-7, "VoxelSizeY": 2e-7, "VoxelSizeZ": 1e-6}
    fields = [(n, f) for n, f in tifffile.TIFF.CZ_LSMINFO if isinstance(f, str)]
    record = b"".join(np.array([numbers.get(n, 0)], f"<{f}").tobytes() for n, f in fields)
    record = record[:4] + struct.pack("<i", len(record)) + record[8:]
    with tifffile.TiffWriter(path) as tif:
        for k, plane in enumerate(STACK):
            more = {"metadata": None, "description": None, "contiguous": False}
            tags = [] if k else [(34412, 1, len(record), record, True)]
            tif.write(plane, photometric="minisblack", extratags=tags, **more)
            small = np.zeros((4, 4, 3), "uint8")
            tif.write(small, photometric="rgb", subfiletype=1, **more)


def test_voxel_sizes_of_makers_that_are_certain_are_taken(tmp_path):
    """SVS, FEI and LSM; that all else is left out is told."""
    small = {"metadata": None, "photometric": "minisblack"}
    text = "Aperio Image Library v1.0\r\n30x20 |AppMag = 20|MPP = 0.499"
    tifffile.imwrite(tmp_path / "a.svs", STACK[0], description=text, tile=(16, 16), **small)
    text = "[Scan]\r\nPixelWidth=2.5e-9\r\nPixelHeight=3e-9\r\n"
    tifffile.imwrite(tmp_path / "b.tif", STACK[0], extratags=[(34682, 2, 0, text, True)], **small)
    lsm(tmp_path / "c.tif")
    for path, sizes in (
        ("a.svs", {"y": 0.499, "x": 0.499}),
        ("b.tif", {"y": 0.003, "x": 0.0025}),
        ("c.tif/0", {"z": 1.0, "y": 0.2, "x": 0.2}),
    ):
        image = chunkscale.open_image(tmp_path / path)
        assert image.voxel_size == sizes
        assert {image.grid.axes[i].unit for i in image.grid.spatial} == {"micrometer"}
        assert any("all else is left out" in text for text in told(image, "lost"))
        np.testing.assert_array_equal(np.asarray(image), STACK if path[0] == "c" else STACK[0])
    with pytest.raises(OptionError, match="Zeiss LSM"):
        chunkscale.open_image(tmp_path / "c.tif" / "1")  # thumbnails have other sizes


def test_makers_whose_sizes_are_not_certain_are_named_with_the_way_on(tmp_path):
    """And with what the resolution tags would say, which the user may type."""
    path = tmp_path / "a.scn"
    more = {"resolution": (40000, 20000), "resolutionunit": 3, "description": "<scn></scn>"}
    tifffile.imwrite(path, STACK[0], metadata=None, photometric="minisblack", **more)
    match = r"is a Leica SCN file, whose resolution tags say y=0.5, x=0.25 µm, and does"
    with pytest.raises(OptionError, match=match + r".*source_voxel_size='y=1um,x=1um'"):
        chunkscale.open_image(path)
    sizes = {"source_voxel_size": "y=0.5,x=0.25", "source_unit": "micrometer"}
    assert chunkscale.open_image(path, **sizes).voxel_size == {"y": 0.5, "x": 0.25}


def test_a_check_looks_at_the_unit_of_a_file_whose_sizes_were_given(tmp_path):
    """The unit that the user said counts; one that the output got later is a fault."""
    path, nm = tmp_path / "nm.ome.tif", {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    ome(path, STACK, "ZYX", PhysicalSizeZ=1.0, **nm)
    source = chunkscale.open_image(path, source_voxel_size="1,0.2,0.2")
    given = chunkscale.open_image(path, source_voxel_size="1,0.2,0.2", source_unit="micrometer")
    assert source.stated == given.stated == (1.0, 0.2, 0.2)
    chunkscale.resample(given, tmp_path / "given.zarr", voxel_size=0.2)
    assert chunkscale.check(tmp_path / "given.zarr", source=path)
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, voxel_size=0.2)
    assert chunkscale.check(out, source=path)
    document = json.loads((out / "zarr.json").read_text())
    for axis in document["attributes"]["ome"]["multiscales"][0]["axes"]:
        axis["unit"] = "micrometer"
    (out / "zarr.json").write_text(json.dumps(document))
    report = chunkscale.check(out, source=path)
    assert any("'micrometer'" in fault and "'nanometer'" in fault for fault in report.faults)
