"""TIFF files: voxels are those of tifffile, and the grid is what the metadata says."""

import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale import MetadataError, MultipleImagesError, OptionError
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleError, CorruptChunkError, RegionError
from chunkscale.geometry.box import Box, whole
from chunkscale.storage.engine import StoreIO

DATA = Path(__file__).parents[3] / "shared" / "data"
UM = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}


def ramp(*shape, dtype="uint16"):
    return (np.arange(np.prod(shape)) % 251).astype(dtype).reshape(shape)


def voxels(image):
    return image.array.read(whole(image.grid.shape))


def grid_facts(image):
    """Return voxel size and unit by axis."""
    grid = image.grid
    return {
        axis.name: (size, axis.unit) for axis, size in zip(grid.axes, grid.voxel_size, strict=True)
    }


def opens(path, expected, names, **said):
    """Hold an image to its voxels, its axes, and a box that is cut anywhere."""
    image = chunkscale.open_image(path, **said)
    assert image.grid.names == names
    np.testing.assert_array_equal(voxels(image), expected)
    assert image.array.dtype == expected.dtype.newbyteorder("=")
    start = tuple(n // 3 for n in expected.shape)
    box = Box(
        start=start,
        stop=tuple(max(a + 1, n - n // 4) for a, n in zip(start, expected.shape, strict=True)),
    )
    np.testing.assert_array_equal(image.array.read(box), expected[box.slices])
    return image


#: How a stack of z, y, x is stored -> what `tifffile.imwrite` is told.
LAYOUTS = {
    "strips": {"rowsperstrip": 7},
    "one strip": {"rowsperstrip": 40},
    "pages apart": {"contiguous": False},
    "big-endian": {"byteorder": ">"},
    "big-endian deflate": {"byteorder": ">", "compression": "zlib", "rowsperstrip": 9},
    "BigTIFF": {"bigtiff": True},
    "tiles": {"tile": (16, 32)},
    "tiles, deflate": {"tile": (16, 16), "compression": "zlib"},
    "tiles, BigTIFF, big-endian": {"tile": (32, 16), "bigtiff": True, "byteorder": ">"},
    "deflate": {"compression": "zlib", "rowsperstrip": 5},
}

CODECS = ("lzw", "zstd", "packbits")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_voxels_are_those_of_tifffile(layout, dtype, tmp_path):
    """Whatever a stack is stored like: strips, tiles, byte orders, codecs, data types."""
    path = tmp_path / "stack.ome.tif"
    data = ramp(5, 40, 50, dtype=dtype)
    options = dict(LAYOUTS[layout])
    if options.pop("contiguous", True):
        tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZYX", **UM}, **options)
    else:
        with tifffile.TiffWriter(path, ome=True) as tif:
            tif.write(
                iter(data), shape=data.shape, dtype=data.dtype, metadata={"axes": "ZYX", **UM}
            )
    image = opens(path, tifffile.imread(path), "zyx")
    assert grid_facts(image) == {
        "z": (2.0, "micrometer"),
        "y": (0.5, "micrometer"),
        "x": (0.25, "micrometer"),
    }


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_codecs_of_imagecodecs(codec, tile, tmp_path):
    """LZW, zstd and packbits, with a predictor where there is one."""
    pytest.importorskip("imagecodecs")
    path = tmp_path / "stack.tif"
    data = ramp(5, 40, 50)
    more = {"predictor": True} if codec != "packbits" else {}
    tifffile.imwrite(path, data, compression=codec, tile=tile, metadata={"axes": "ZYX"}, **more)
    opens(path, data, "zyx", source_voxel_size=1)


def test_jpeg_tiles_with_their_tables(tmp_path):
    """JPEG is decoded as tifffile decodes it, for grey and colour."""
    pytest.importorskip("imagecodecs")
    for name, data in {
        "grey": ramp(2, 64, 48, dtype="uint8"),
        "rgb": ramp(64, 48, 3, dtype="uint8"),
    }.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(
            path,
            data,
            compression="jpeg",
            tile=(32, 32),
            photometric="rgb" if name == "rgb" else "minisblack",
            metadata={"axes": "YXS" if name == "rgb" else "ZYX"},
        )
        found = tifffile.imread(path)
        expected = np.moveaxis(found, -1, 0) if name == "rgb" else found
        opens(path, expected, "cyx" if name == "rgb" else "zyx", source_voxel_size=1)


def test_a_codec_that_is_not_there_is_named_when_the_file_is_opened(tmp_path, monkeypatch):
    """With its page and what to install, and not in the middle of a run."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, ramp(2, 40, 50), compression="zlib", metadata={"axes": "ZYX"})

    def missing(*_, **__):
        raise ValueError("<COMPRESSION.ADOBE_DEFLATE: 8> requires the 'imagecodecs' package")

    monkeypatch.setitem(tifffile.TIFF.DECOMPRESSORS._codecs, 8, missing)
    with pytest.raises(MetadataError, match=r"page 0 .*adobe_deflate.*pip install imagecodecs"):
        chunkscale.open_image(path, source_voxel_size=1)


@pytest.mark.parametrize(
    "order", ["TCZYX", "TZCYX", "CTZYX", "CZTYX", "ZTCYX", "ZCTYX", "CYX", "TYX"]
)
def test_orders_of_ome_become_canonical(order, tmp_path):
    """Planes are found by their axes, whatever order they are stored in."""
    path = tmp_path / "image.ome.tif"
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 11, "X": 13}
    data = ramp(*(sizes[a] for a in order))
    tifffile.imwrite(path, data, ome=True, metadata={"axes": order, **UM})
    wanted = [a for a in "TCZYX" if a in order]
    expected = np.transpose(data, [order.index(a) for a in wanted])
    opens(path, expected, "".join(wanted).lower())


def test_ome_says_channels_times_and_where_planes_are(tmp_path):
    """Names and colours become "omero", the time step t, positions of planes the translation."""
    path = tmp_path / "image.ome.tif"
    planes = {
        "PositionX": [10.0] * 12,
        "PositionXUnit": ["µm"] * 12,
        "PositionZ": [5.0, 7.0] * 6,
        "PositionZUnit": ["µm"] * 12,
    }
    told = {
        "axes": "TCZYX",
        **UM,
        "TimeIncrement": 250.0,
        "TimeIncrementUnit": "ms",
        "Plane": planes,
        "Channel": {"Name": ["DAPI", "GFP"], "Color": [-16776961, 16711935]},
        "Name": "cells",
    }
    tifffile.imwrite(path, ramp(3, 2, 2, 8, 9), ome=True, metadata=told)
    image = chunkscale.open_image(path)
    assert grid_facts(image)["t"] == (250.0, "millisecond")
    assert image.channels == ["DAPI", "GFP"]
    assert [c["color"] for c in image.attributes["omero"]["channels"]] == ["FF0000", "00FF00"]
    assert image.grid.translation == (0.0, 0.0, 5.0, 0.0, 10.0)
    assert image.name == "cells"
    run = chunkscale.resample(image, tmp_path / "out.zarr", voxel_size="same")
    assert chunkscale.open_image(run.path).channels == ["DAPI", "GFP"]
    assert not [n for n in run.plan.warnings if n.kind == "metadata"]


def test_positions_that_are_no_grid_are_told(tmp_path):
    """Stage drift is left out with a word."""
    path = tmp_path / "image.ome.tif"
    planes = {"PositionX": [10.0, 11.0], "PositionXUnit": ["µm"] * 2}
    tifffile.imwrite(path, ramp(2, 8, 9), ome=True, metadata={"axes": "ZYX", **UM, "Plane": planes})
    image = chunkscale.open_image(path)
    assert image.grid.translation == (0.0, 0.0, 0.0)
    assert any("along x are left out" in str(n) for n in image.notices)


def test_positions_without_a_unit_of_length_are_told(tmp_path):
    """No unit is the frame of the stage."""
    path = tmp_path / "image.ome.tif"
    planes = {"PositionY": [10.0, 10.0]}
    tifffile.imwrite(path, ramp(2, 8, 9), ome=True, metadata={"axes": "ZYX", **UM, "Plane": planes})
    image = chunkscale.open_image(path)
    assert image.grid.translation == (0.0, 0.0, 0.0)
    (told,) = [n.text for n in image.notices if n.kind == "lost"]
    assert "along y are left out: they have no unit of length" in told


@pytest.mark.parametrize(
    ("unit", "size", "found"),
    [
        ("nm", 250.0, (250.0, "nanometer")),
        ("mm", 0.25, (0.25, "millimeter")),
        ("in", 0.01, (0.01, "inch")),
        ("pixel", 3.0, (3.0, None)),
        ("reference frame", 3.0, (3.0, None)),
    ],
)
def test_units_of_ome(unit, size, found, tmp_path):
    """They are NGFF's; a pixel is none."""
    path = tmp_path / "image.ome.tif"
    told = {f"PhysicalSize{a}": size for a in "XYZ"} | {f"PhysicalSize{a}Unit": unit for a in "XYZ"}
    tifffile.imwrite(path, ramp(2, 8, 9), ome=True, metadata={"axes": "ZYX", **told})
    assert set(grid_facts(chunkscale.open_image(path)).values()) == {found}


def test_units_that_differ_become_that_of_x(tmp_path):
    """Decimal numbers stay decimal numbers."""
    path = tmp_path / "image.ome.tif"
    told = {
        "PhysicalSizeX": 0.2,
        "PhysicalSizeY": 200,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.001,
        "PhysicalSizeZUnit": "mm",
    }
    tifffile.imwrite(path, ramp(2, 8, 9), ome=True, metadata={"axes": "ZYX", **told})
    facts = grid_facts(chunkscale.open_image(path))
    assert facts == {"z": (1.0, "micrometer"), "y": (0.2, "micrometer"), "x": (0.2, "micrometer")}


def test_a_size_that_is_missing_is_asked_for_by_its_axis(tmp_path):
    """And the option that is named gives it, in the unit of the others."""
    path = tmp_path / "image.ome.tif"
    told = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
    tifffile.imwrite(path, ramp(2, 8, 9), ome=True, metadata={"axes": "ZYX", **told})
    with pytest.raises(OptionError, match=r"along z; .*source_voxel_size='z=1'"):
        chunkscale.open_image(path)
    facts = grid_facts(chunkscale.open_image(path, source_voxel_size="z=1"))
    assert facts == {"z": (1.0, "micrometer"), "y": (0.2, "micrometer"), "x": (0.2, "micrometer")}


def test_a_pyramid_is_one_image(tmp_path):
    """Its levels are no images of their own, and level 0 is read."""
    path = tmp_path / "pyramid.ome.tif"
    data = ramp(3, 64, 96)
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tif:
        tif.write(data, tile=(32, 32), subifds=2, metadata={"axes": "ZYX", **UM})
        tif.write(data[:, ::2, ::2], tile=(32, 32), subfiletype=1)
        tif.write(data[:, ::4, ::4], tile=(32, 32), subfiletype=1)
    opens(path, data, "zyx")


def test_several_series_are_listed_and_mirrored(tmp_path):
    """Each by its number, with its name; all of them as a folder of images."""
    path = tmp_path / "scan.ome.tif"
    first, second = ramp(2, 16, 17), ramp(3, 8, 9)
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(first, metadata={"axes": "ZYX", **UM, "Name": "overview"})
        tif.write(second, metadata={"axes": "ZYX", **UM, "Name": "label"})
    with pytest.raises(MultipleImagesError, match="1 \\(label: 3 x 8 x 9") as caught:
        chunkscale.open_image(path)
    assert caught.value.paths == ("0", "1")
    assert opens(f"{path}/1", second, "zyx").name == "label"
    with pytest.raises(ChunkscaleError, match="has no image '2'; it has 2"):
        chunkscale.open_image(f"{path}/2")
    assert chunkscale.info(path)["images"] == ["0", "1"]
    run = chunkscale.resample(path, tmp_path / "all.zarr", images="all", voxel_size="same")
    np.testing.assert_array_equal(voxels(chunkscale.open_image(f"{run.path}/1")), second)
    assert chunkscale.check(run.path, source=path)


def test_an_image_in_several_files(tmp_path):
    """Planes are read from the files that OME-XML names; one that is gone is no zeros."""
    data = ramp(2, 3, 8, 9)
    names = ["a.ome.tif", "b.ome.tif"]
    ids = ["urn:uuid:00000000-0000-0000-0000-00000000000" + str(i) for i in range(2)]
    blocks = "".join(
        f'<TiffData FirstC="{c}" FirstZ="{z}" IFD="{z}" PlaneCount="1">'
        f'<UUID FileName="{names[c]}">{ids[c]}</UUID></TiffData>'
        for c in range(2)
        for z in range(3)
    )
    for c in range(2):
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{ids[c]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            'Type="uint16" SizeX="9" SizeY="8" SizeZ="3" SizeC="2" SizeT="1" PhysicalSizeX="1" '
            f'PhysicalSizeY="1" PhysicalSizeZ="2">{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            tmp_path / names[c], data[c], description=xml, metadata=None, photometric="minisblack"
        )
    image = opens(tmp_path / names[0], data, "czyx")
    assert len(image.files) == 2
    (tmp_path / names[1]).unlink()
    assert "has gone" in image.fate()
    with pytest.raises(MetadataError, match=r"3 of the 6 planes .* are not there"):
        chunkscale.open_image(tmp_path / names[0])


IMAGEJ = {"spacing": 1.5, "unit": "um", "finterval": 0.5}


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "CYX", "TZCYX", "TZYX", "ZCYX"])
def test_hyperstacks_of_imagej(axes, tmp_path):
    """Stored as t, z, c, y, x, big-endian, and read in canonical order."""
    path = tmp_path / "stack.tif"
    sizes = {"T": 2, "Z": 3, "C": 4, "Y": 11, "X": 13}
    data = ramp(*(sizes[a] for a in axes))
    tifffile.imwrite(path, data, imagej=True, resolution=(4, 2), metadata={"axes": axes, **IMAGEJ})
    wanted = [a for a in "TCZYX" if a in axes]
    expected = np.transpose(data, [axes.index(a) for a in wanted])
    facts = grid_facts(opens(path, expected, "".join(wanted).lower()))
    assert facts["x"] == (0.25, "micrometer")
    assert facts["y"] == (0.5, "micrometer")
    assert facts.get("z", (1.5, "micrometer")) == (1.5, "micrometer")
    assert facts.get("t", (0.5, "second")) == (0.5, "second")


@pytest.mark.parametrize(
    ("unit", "resolutionunit", "found"),
    [
        ("\\u00B5m", None, "micrometer"),
        ("micron", None, "micrometer"),
        ("nm", None, "nanometer"),
        ("inch", None, "inch"),
        ("cm", None, "centimeter"),
        (None, "INCH", "inch"),
        (None, "CENTIMETER", "centimeter"),
    ],
)
def test_units_of_imagej(unit, resolutionunit, found, tmp_path):
    """In the description, or else that of the resolution."""
    path = tmp_path / "stack.tif"
    told = {"axes": "ZYX", "spacing": 2.0} | ({} if unit is None else {"unit": unit})
    tifffile.imwrite(
        path,
        ramp(2, 8, 9),
        imagej=True,
        resolution=(4, 4),
        metadata=told,
        **({} if resolutionunit is None else {"resolutionunit": resolutionunit}),
    )
    facts = grid_facts(chunkscale.open_image(path))
    assert facts == {"z": (2.0, found), "y": (0.25, found), "x": (0.25, found)}


def test_imagej_without_a_scale_asks_for_one(tmp_path):
    """Also where the resolution is that of a screen."""
    path = tmp_path / "stack.tif"
    for more in ({}, {"resolution": (72, 72), "resolutionunit": "INCH"}):
        tifffile.imwrite(path, ramp(2, 8, 9), imagej=True, metadata={"axes": "ZYX"}, **more)
        with pytest.raises(OptionError, match="along z, y, x"):
            chunkscale.open_image(path)


def test_a_spacing_that_is_given_is_not_guessed(tmp_path):
    """ImageJ leaves out a spacing of 1: that is told, unless somebody says what it is."""
    path = tmp_path / "scan.tif"
    told = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(path, ramp(2, 8, 9), imagej=True, resolution=(4, 4), metadata=told)
    said = ["the plane spacing is missing, which is how ImageJ writes 1; 1 is used"]
    assert chunkscale.info(path)["warnings"] == said
    assert chunkscale.info(path, source_voxel_size="z=0.5")["warnings"] == []


def test_imagej_shows_channels(tmp_path):
    """Display ranges and look-up tables become windows and colours."""
    path = tmp_path / "stack.tif"
    red, green = np.zeros((2, 3, 256), "uint8")
    red[0], green[1] = np.arange(256), np.arange(256)
    told = {
        "axes": "CYX",
        "unit": "um",
        "Ranges": (1.0, 9.0, 2.0, 8.0),
        "LUTs": [red, green],
        "Labels": ["first", "second"],
        "mode": "composite",
    }
    tifffile.imwrite(path, ramp(2, 8, 9), imagej=True, resolution=(4, 4), metadata=told)
    image = chunkscale.open_image(path)
    assert image.channels == ["first", "second"]
    shown = image.attributes["omero"]["channels"]
    assert [c["color"] for c in shown] == ["FF0000", "00FF00"]
    assert [(c["window"]["start"], c["window"]["end"]) for c in shown] == [(1, 9), (2, 8)]


def sparse_imagej(path, planes, edge, byteorder=">"):
    """Write the head of a stack of ImageJ with one page; its voxels are a hole, but for a few."""
    text = (
        f"ImageJ=1.54f\nimages={planes}\nslices={planes}\nunit=um\nspacing=2.0\n".encode() + b"\0"
    )
    offset = 4096
    tags = [
        (256, 4, 1, edge),
        (257, 4, 1, edge),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (270, 2, len(text), 1024),
        (273, 4, 1, offset),
        (277, 3, 1, 1),
        (278, 4, 1, edge),
        (279, 4, 1, edge * edge),
        (282, 5, 1, 2048),
        (283, 5, 1, 2048),
    ]
    head = bytearray(offset)
    struct.pack_into(byteorder + "2sHI", head, 0, b"MM" if byteorder == ">" else b"II", 42, 8)
    struct.pack_into(byteorder + "H", head, 8, len(tags))
    for i, (code, kind, count, value) in enumerate(tags):
        at = 10 + 12 * i
        struct.pack_into(byteorder + "HHI", head, at, code, kind, count)
        struct.pack_into(byteorder + ("H" if kind == 3 else "I"), head, at + 8, value)
    head[1024 : 1024 + len(text)] = text
    struct.pack_into(byteorder + "II", head, 2048, 4, 1)
    with open(path, "wb") as file:
        file.write(head)
        for plane in range(planes):
            file.seek(offset + plane * edge * edge)
            file.write(bytes([plane % 251 + 1]) * edge)
        file.truncate(offset + planes * edge * edge)


def test_the_contiguous_form_of_imagej_beyond_4_gb(tmp_path):
    """One page says how many planes follow it; the last one lies beyond what 32 bits hold."""
    path = tmp_path / "large.tif"
    sparse_imagej(path, 5000, 1024)
    image = chunkscale.open_image(path)
    assert image.grid.shape == (5000, 1024, 1024)
    row = image.array.read(Box(start=(4999, 0, 5), stop=(5000, 2, 9)))
    np.testing.assert_array_equal(row, [[[4999 % 251 + 1] * 4, [0] * 4]])
    assert len(pickle.dumps(image.array)) < 4000


def test_plain_files_ask_for_axes_and_voxel_size(tmp_path):
    """What the message says works, in Python and on the command line; `check` knows it after."""
    path = tmp_path / "stack.tif"
    data = ramp(5, 16, 17)
    tifffile.imwrite(path, data)
    with pytest.raises(OptionError, match=r"axes QYX \(5 x 16 x 17\).*axes='zyx'"):
        chunkscale.open_image(path)
    with pytest.raises(
        OptionError, match=r"along z, y, x; .*source_voxel_size='z=1um,y=1um,x=1um'"
    ):
        chunkscale.open_image(path, axes="zyx")
    said = ["--source-axes", "QYX=zyx", "--source-voxel-size", "z=2um,y=1um,x=1um"]
    out = str(tmp_path / "out.zarr")
    assert main(["resample", str(path), out, *said, "--voxel-size", "1"]) == 0
    assert main(["check", out, "--source", str(path)]) == 0
    assert main(["resample", str(path), out, *said, "--voxel-size", "1", "--resume"]) == 0
    assert grid_facts(chunkscale.open_image(out))["z"] == (1.0, "micrometer")
    assert main(["info", str(path), *said]) == 0
    assert main(["plan", str(path), *said]) == 0
    for axes, words in (
        ("zy", "does not fit"),
        ("XYZ=zyx", "is for a file with the axes XYZ"),
        ("qyx", "does not fit"),
        ("zzx", "does not fit"),
    ):
        with pytest.raises(OptionError, match=words):
            chunkscale.open_image(path, axes=axes, source_voxel_size=1)


@pytest.mark.parametrize("axes", ["tyx", "cyx", "zyx", "yzx", "xyz", "yxz"])
def test_axes_that_are_said_are_put_in_order(axes, tmp_path):
    """Lazily: the first axis may be any, and so may those of a page."""
    path = tmp_path / "stack.tif"
    data = ramp(5, 16, 17)
    tifffile.imwrite(path, data, compression="zlib", rowsperstrip=5)
    wanted = [a for a in "tczyx" if a in axes]
    expected = np.transpose(data, [axes.index(a) for a in wanted])
    opens(path, expected, "".join(wanted), axes=axes, source_voxel_size=1)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_samples_become_channels(planar, options, tmp_path):
    """With a notice, whether they lie beside one another or apart."""
    path = tmp_path / "rgb.tif"
    data = ramp(3, 20, 21, dtype="uint8")
    stored = np.moveaxis(data, 0, -1) if planar == "contig" else data
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar, **options)
    image = opens(path, data, "cyx", source_voxel_size=1)
    assert any("samples per pixel" in str(n) for n in image.notices)
    part = image.array.read(Box(start=(1, 3, 4), stop=(3, 9, 20)))
    np.testing.assert_array_equal(part, data[1:3, 3:9, 4:20])


def test_channels_of_several_samples_are_one_axis(tmp_path):
    """As OME counts them: samples of the first channel, then those of the next."""
    path = tmp_path / "image.ome.tif"
    data = ramp(2, 2, 12, 13, 3, dtype="uint8")
    tifffile.imwrite(path, data, ome=True, photometric="rgb", metadata={"axes": "ZCYXS", **UM})
    expected = np.moveaxis(data, -1, 2).reshape(2, 6, 12, 13).swapaxes(0, 1)
    image = opens(path, expected, "czyx")
    part = image.array.read(Box(start=(2, 1, 3, 4), stop=(5, 2, 9, 11)))
    np.testing.assert_array_equal(part, expected[2:5, 1:2, 3:9, 4:11])


def test_samples_are_the_only_channels_unless_the_file_has_others(tmp_path):
    """What is suggested for the other axes is no c and works; c twice is refused."""
    path = tmp_path / "plain.tif"
    data = ramp(2, 3, 3, 8, 9, dtype="uint8")
    tifffile.imwrite(path, data, photometric="rgb", planarconfig="separate")
    with pytest.raises(OptionError, match=r"axes QQSYX.*axes='tzcyx'"):
        chunkscale.open_image(path, source_voxel_size=1)
    opens(path, data.swapaxes(1, 2), "tczyx", axes="tzcyx", source_voxel_size=1)
    with pytest.raises(OptionError, match=r"'czcyx'.*does not fit.*samples \(S\) are channels"):
        chunkscale.open_image(path, axes="czcyx", source_voxel_size=1)


def write_planes(folder, numbers, **options):
    folder.mkdir(exist_ok=True)
    for i in numbers:
        tifffile.imwrite(folder / f"z{i}.tif", ramp(8, 9) + np.uint16(i), **options)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_planes_in_natural_order(options, tmp_path):
    """2 comes before 10, in a folder and in a pattern."""
    folder = tmp_path / "planes"
    write_planes(folder, range(1, 13), **options)
    expected = np.stack([ramp(8, 9) + np.uint16(i) for i in range(1, 13)])
    for place in (folder, f"{folder}/z*.tif"):
        image = opens(place, expected, "zyx", source_voxel_size=1)
        assert len(image.files) == 12
    opens(folder, expected[:, None][:, 0], "tyx", axes="tyx", source_voxel_size=1)
    copy = pickle.loads(pickle.dumps(image.array))
    np.testing.assert_array_equal(copy.read(whole(copy.shape)), expected)


def test_planes_that_do_not_fit_are_named(tmp_path):
    """A gap, another shape, another type, names that are no numbers, and a file of two pages."""
    said = {"source_voxel_size": 1}
    folder = tmp_path / "planes"
    write_planes(folder, [1, 2, 4, 5])
    with pytest.raises(MetadataError, match=r"missing between 'z2.tif' and 'z4.tif'"):
        chunkscale.open_image(folder, **said)
    for wrong, words in (
        (ramp(8, 10), r"z3.tif' differs from .*z1.tif': its shape"),
        (ramp(8, 9, dtype="uint8"), r"z3.tif' differs from .*: its data type"),
        (ramp(2, 8, 9), r"z3.tif' holds more than one plane"),
    ):
        tifffile.imwrite(folder / "z3.tif", wrong)
        with pytest.raises(MetadataError, match=words):
            chunkscale.open_image(folder, **said)
    tifffile.imwrite(folder / "z3.tif", ramp(8, 9))
    tifffile.imwrite(folder / "mask.tif", ramp(8, 9))
    with pytest.raises(MetadataError, match="is not called like"):
        chunkscale.open_image(folder, **said)
    chunkscale.open_image(f"{folder}/z*.tif", **said)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_box_is_a_slice(data, tmp_path_factory):
    """In any order of axes, any chunk size, with a cache that is too small and with one."""
    folder = tmp_path_factory.getbasetemp() / "any-box"
    folder.mkdir(exist_ok=True)
    axes = data.draw(st.permutations("TCZ").map(lambda p: "".join(p) + "YX"))
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 23, "X": 37}
    array = ramp(*(sizes[a] for a in axes))
    options = data.draw(
        st.sampled_from(
            [{"rowsperstrip": 6, "compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">"}, {}]
        )
    )
    path = folder / "image.ome.tif"
    tifffile.imwrite(path, array, ome=True, metadata={"axes": axes, **UM}, **options)
    cache = data.draw(st.sampled_from([0, 500, 10**6]))
    image = chunkscale.open_image(path).within(StoreIO(threads=1, cache_bytes=cache))
    expected = np.transpose(array, [axes.index(a) for a in "TCZYX"])
    for _ in range(3):
        bounds = [
            sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n))))
            for n in expected.shape
        ]
        box = Box(start=tuple(a for a, _ in bounds), stop=tuple(max(b, a + 1) for a, b in bounds))
        np.testing.assert_array_equal(image.array.read(box), expected[box.slices])


def test_a_file_that_is_cut_off_is_named(tmp_path):
    """Wherever it is cut: it is refused, unless no voxel is missing."""
    path, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    data = ramp(6, 40, 50)
    for options in ({}, {"compression": "zlib"}, {"imagej": True, "resolution": (1, 1)}):
        axes = {"axes": "ZYX"}
        tifffile.imwrite(path, data, metadata=axes, **options)
        size = path.stat().st_size
        for left in (0, 3, 8, 100, size // 3, size // 2, size - 4000, size - 1):
            shutil.copy(path, cut)
            with open(cut, "r+b") as file:
                file.truncate(max(left, 1))
            try:
                found = voxels(chunkscale.open_image(cut, source_voxel_size=1))
            except ChunkscaleError as error:
                said = str(error)
            else:
                np.testing.assert_array_equal(found, data)
                said = "cut.tif"
            assert "cut.tif" in said


def test_pages_that_lead_back_are_refused(tmp_path):
    """A chain that never ends would be followed for ever."""
    path = tmp_path / "loop.tif"
    with tifffile.TiffWriter(path) as tif:
        for _ in range(4):
            tif.write(ramp(8, 9), contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as tif:
        offsets = [page.offset for page in tif.pages]
        counts = [len(page.tags) for page in tif.pages]
    with open(path, "r+b") as file:
        file.seek(offsets[-1] + 2 + 12 * counts[-1])
        file.write(struct.pack("<I", offsets[1]))
    with pytest.raises(MetadataError, match="page 3 leads back to page 1"):
        chunkscale.open_image(path)


def test_ome_that_lists_more_planes_than_there_are_is_refused(tmp_path):
    """They would be zeros."""
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, ramp(4, 8, 9), ome=True, metadata={"axes": "ZYX", **UM})
    raw = path.read_bytes()
    for old, new in ((b'SizeZ="4"', b'SizeZ="9"'), (b'PlaneCount="4"', b'PlaneCount="9"')):
        raw = raw.replace(old, new)
    path.write_bytes(raw)
    with pytest.raises(MetadataError, match="planes that its metadata lists are not there"):
        chunkscale.open_image(path)


def test_pages_of_another_shape_are_refused(tmp_path):
    """The library reads them as if they were like the first."""
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(
        path, ramp(3, 8, 8), ome=True, compression="zlib", metadata={"axes": "ZYX", **UM}
    )
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[1].offset + 2
    with open(path, "r+b") as file:
        for i in range(20):
            file.seek(place + 12 * i)
            if struct.unpack("<H", file.read(2))[0] == 257:
                file.seek(place + 12 * i + 8)
                file.write(struct.pack("<H", 4))
    with pytest.raises(MetadataError, match=r"page 1 .* differs .*tag 257 is 4 and not 8"):
        chunkscale.open_image(path)


def test_a_strip_that_decodes_to_another_size_is_named(tmp_path):
    """And so is one that cannot be decoded: never zeros."""
    import zlib

    path = tmp_path / "stack.tif"
    data = np.random.default_rng(1).integers(0, 255, (5, 40, 50)).astype("uint8")
    tifffile.imwrite(path, data, compression="zlib", rowsperstrip=10, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[2].dataoffsets[1], tif.pages[2].databytecounts[1]
    raw = path.read_bytes()
    for wrong in (zlib.compress(bytes(7)), b"\x01" * 30):
        path.write_bytes(raw[:offset] + wrong.ljust(count, b"\0") + raw[offset + count :])
        image = chunkscale.open_image(path, source_voxel_size=1)
        with pytest.raises(CorruptChunkError, match=r"strip 1 of page 2 of .*stack\.tif"):
            voxels(image)
        with pytest.raises(CorruptChunkError, match="strip 1 of page 2"):
            chunkscale.resample(image, tmp_path / "out.zarr", overwrite=True)


def test_what_is_no_tiff_is_said(tmp_path):
    """Whatever its name is."""
    path = tmp_path / "image.tif"
    path.write_bytes(b"\x89PNG and so on")
    with pytest.raises(ChunkscaleError, match="is not a TIFF file"):
        chunkscale.open_image(path)
    with pytest.raises(ChunkscaleError, match=r"does not exist; check the path$"):
        chunkscale.open_image(tmp_path / "absent.tif")


def test_a_file_that_is_replaced_is_noticed(tmp_path):
    """By the run, by a worker that opens it, and by the fingerprint."""
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, ramp(3, 8, 9), ome=True, metadata={"axes": "ZYX", **UM})
    image = chunkscale.open_image(path)
    sent = pickle.dumps(image.array)
    assert image.fate(whole=True) == ""
    tifffile.imwrite(path, ramp(3, 8, 9) + np.uint16(1), ome=True, metadata={"axes": "ZYX", **UM})
    assert "has been replaced" in image.fate()
    with pytest.raises(RegionError, match="has been replaced"):
        pickle.loads(sent).read(whole(image.grid.shape))
    assert chunkscale.open_image(path).fingerprint() != image.fingerprint()

    def replace(progress):
        tifffile.imwrite(path, ramp(3, 8, 9), ome=True, metadata={"axes": "ZYX", **UM})

    with pytest.raises(RegionError, match="has been replaced since this run began"):
        chunkscale.resample(path, tmp_path / "out.zarr", progress=replace)


def test_many_pages_open_in_bounded_time(tmp_path):
    """And what is sent to a worker does not grow with them."""
    path = tmp_path / "many.tif"
    tifffile.imwrite(
        path, np.zeros((4000, 5, 5), "uint8"), compression="zlib", metadata={"axes": "TYX"}
    )
    image = chunkscale.open_image(path, source_voxel_size=1)
    assert image.grid.shape == (4000, 5, 5)
    assert len(pickle.dumps(image.array)) < 4000


def test_parts_and_labels_and_like(tmp_path):
    """A file is an image like any other: crops, channels, `like`, nearest for labels."""
    path = tmp_path / "image.ome.tif"
    data = ramp(2, 6, 20, 21)
    told = {"axes": "CZYX", **UM, "Channel": {"Name": ["a", "b"]}}
    tifffile.imwrite(path, data, ome=True, metadata=told)
    part = chunkscale.open_image(path).select(channels="b", crop="z=1:4")
    run = chunkscale.resample(part, tmp_path / "part.zarr", voxel_size="same", method="nearest")
    np.testing.assert_array_equal(voxels(chunkscale.open_image(run.path)), data[1:, 1:4])
    assert chunkscale.check(run.path, source=path)
    assert chunkscale.plan_resampling(run.path, like=path, channels=0).target_grid.shape[1:] == (
        6,
        20,
        21,
    )
    lazy = chunkscale.open_image(path).as_dask()
    np.testing.assert_array_equal(lazy.compute(), data)


REAL = {
    "tiff_bian/Bead_Image1_crop.tif": ("zyx", (0.125, 1 / 44.460534, 1 / 44.460534), "micrometer"),
    "tiff_mobie/mri-stack-calibrated.tif": ("zyx", (5.0, 1.0, 1.0), "micrometer"),
    "tiff_mobie/xyzct-mitosis.tif": (
        "tczyx",
        (1 / 7, 1.0, 1.0, 1e6 / 11299435, 1e6 / 11299435),
        "micrometer",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(name):
    """Voxel size, unit and axes as their metadata says; voxels as tifffile reads them."""
    if not (DATA / name).exists():
        pytest.skip("no real files here")
    axes, size, unit = REAL[name]
    expected = tifffile.imread(DATA / name)
    if axes == "tczyx":
        expected = expected.swapaxes(1, 2)  # ImageJ stores t, z, c
    image = opens(DATA / name, expected, axes)
    np.testing.assert_allclose(image.grid.voxel_size[-3:], size[-3:], rtol=1e-12)
    assert image.grid.axes[-1].unit == unit


@pytest.mark.parametrize(
    "name",
    [
        "tiff_mobie/mri-stack.tif",
        "tiff_stardist/img3d.tif",
        "tiff_stardist/mask3d.tif",
        "tiff_webknossos/4D-series.ome.tif",
        "tiff_webknossos/multi-channel-z-series.ome.tif",
    ],
)
def test_real_files_without_a_scale_ask(name):
    """Axes are kept, or asked for where they are not said; nothing is guessed."""
    if not (DATA / name).exists():
        pytest.skip("no real files here")
    with pytest.raises(OptionError, match=r"source_voxel_size=|axes="):
        chunkscale.open_image(DATA / name)
    said = {"axes": "zyx"} if "stardist" in name else {}
    found = tifffile.imread(DATA / name)
    axes = {"4D": "tzyx", "mu": "czyx"}.get(Path(name).name[:2], "zyx")
    opens(DATA / name, found, axes, source_voxel_size=1, **said)


@pytest.mark.parametrize("axes", ["ZXY", "CXY", "TYX"])
def test_rows_and_columns_are_what_the_file_calls_them(axes, tmp_path):
    """Voxels as tifffile has them, in the order of the image's axes."""
    stack = np.arange(5 * 7 * 9, dtype="u1").reshape(5, 7, 9)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, metadata={"axes": axes}, photometric="minisblack")
    image = chunkscale.open_image(path, source_voxel_size=1)
    order = sorted(range(3), key=lambda i: "TCZYX".find(axes[i]))
    assert image.axes == "".join(axes[i] for i in order).lower()
    assert_array_equal(np.asarray(image), stack.transpose(order))


def test_a_plane_without_x_asks_for_axes(tmp_path):
    path = tmp_path / "s.tif"
    stack = np.zeros((5, 7, 9), "u1")
    tifffile.imwrite(path, stack, metadata={"axes": "TZY"}, photometric="minisblack")
    with pytest.raises(chunkscale.OptionError, match="give axes='zyx'"):
        chunkscale.open_image(path, source_voxel_size=1)
    assert chunkscale.open_image(path, source_voxel_size=1, axes="zyx").shape == (5, 7, 9)


def test_a_file_that_is_replaced_before_it_is_read_is_named(tmp_path):
    """Not read with the places of what it was."""
    stack, path = np.ones((5, 7, 9), "u1"), tmp_path / "r.tif"
    calibrated = {"axes": "ZYX", "spacing": 1.0, "unit": "um"}
    tifffile.imwrite(path, stack, imagej=True, resolution=(1, 1), metadata=calibrated)
    image = chunkscale.open_image(path)
    calibrated["Info"] = "x" * 500
    tifffile.imwrite(path, stack, imagej=True, resolution=(1, 1), metadata=calibrated)
    for read in (lambda: np.asarray(image), lambda: image.as_dask().compute()):
        with pytest.raises(chunkscale.RegionError, match="has been replaced since"):
            read()


def test_a_unit_beside_sizes_that_the_file_says_in_another_is_refused(tmp_path):
    """They would become a thousand times larger."""
    path = tmp_path / "nz.ome.tif"
    sizes = {"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm"}
    sizes |= {"PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(path, np.zeros((5, 7, 9), "u1"), metadata={"axes": "ZYX", **sizes})
    with pytest.raises(chunkscale.OptionError, match="with their sizes, in nanometer"):
        chunkscale.open_image(path)
    with pytest.raises(chunkscale.OptionError, match="says 500 nanometer along y"):
        chunkscale.open_image(path, source_voxel_size="z=2", source_unit="micrometer")
    given = {"source_voxel_size": "z=2,y=0.5,x=0.5", "source_unit": "micrometer"}
    image = chunkscale.open_image(path, **given)
    assert image.voxel_size == {"z": 2.0, "y": 0.5, "x": 0.5}


def test_what_has_no_place_in_an_output_is_told(tmp_path):
    """Of OME-XML and of ImageJ's metadata, in one notice each."""
    stack, said = np.zeros((5, 7, 9), "u1"), {"axes": "TYX", "PhysicalSizeX": 1.0}
    said |= {"PhysicalSizeY": 1.0, "Description": "a cell", "Plane": {"DeltaT": [0, 2, 4, 6, 8]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=said)
    notices = chunkscale.open_image(tmp_path / "a.ome.tif").notices
    assert [str(n) for n in notices if n.kind == "lost"] == [
        "left out of OME-XML: DeltaT, Description"
    ]
    calibrated = {"axes": "ZYX", "spacing": 1.0, "unit": "um", "Info": "by hand", "cf": 0}
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, resolution=(1, 1), metadata=calibrated)
    (notice,) = chunkscale.open_image(tmp_path / "b.tif").notices
    assert "left out of ImageJ's metadata: Info, the calibration of values" in str(notice)


def test_units_of_time_that_are_not_known_are_told(tmp_path):
    """A megasecond is no millisecond."""
    stack = np.zeros((5, 7, 9), "u1")
    for unit in ("Ms", "ps"):
        said = {"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "axes": "TYX"}
        said |= {"TimeIncrement": 3, "TimeIncrementUnit": unit}
        tifffile.imwrite(tmp_path / f"{unit}.ome.tif", stack, metadata=said)
        image = chunkscale.open_image(tmp_path / f"{unit}.ome.tif")
        assert image.grid.axes[0].unit in (None, "picosecond", "megasecond")
        assert (image.grid.axes[0].unit is None) == any(
            "TimeIncrement" in str(n) for n in image.notices
        )
