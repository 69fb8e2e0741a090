"""OME-XML beside a collection is true for the images that were made, and otherwise as it was."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import plates
import pytest
from grids import grid_for

from chunkscale.errors import MetadataError
from chunkscale.ome import omexml
from chunkscale.ome.omexml import MadeImage, revised

DATA = Path(__file__).parents[3] / "shared/data"

SPACE = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def made(shape=(2, 8, 12, 10), size=(1.0, 1.0, 0.25, 0.125), unit="micrometer", **more):
    grid = grid_for(shape, size, unit=unit)
    given = {"source_shape": plates.SHAPE, **more}
    return MadeImage(axes=grid.axes, shape=grid.shape, voxel_size=grid.voxel_size, **given)


def parse(content):
    return ET.fromstring(content.decode())


def pixels(content):
    return [dict(p.attrib) for p in parse(content).iter(f"{SPACE}Pixels")]


def document(count=2, **more):
    return plates.ome_xml(count, **more).encode()


def test_sizes_are_those_of_the_images():
    """Each image has its own; a unit that has a symbol is that."""
    images = [made(), made(shape=(2, 4, 20, 30), size=(1, 2000.0, 90.0, 80.0), unit="nanometer")]
    content, _ = revised(document(), images)
    one, two = pixels(content)
    assert [one[f"Size{k}"] for k in "XYZCT"] == ["10", "12", "8", "2", "1"]
    assert [two[f"Size{k}"] for k in "XYZCT"] == ["30", "20", "4", "2", "1"]
    assert [one[f"PhysicalSize{k}"] for k in "XYZ"] == ["0.125", "0.25", "1.0"]
    assert {one[f"PhysicalSize{k}Unit"] for k in "XYZ"} == {"µm"}
    assert (two["PhysicalSizeX"], two["PhysicalSizeXUnit"]) == ("80.0", "nm")


def test_everything_else_stays_as_it_is():
    """Prefixes, comments, escapes, the order of elements: with sizes put back it is the same."""
    given = document(1, inside="<?keep this?><StructuredAnnotations/>")
    same = made(shape=plates.SHAPE, size=plates.SIZE)
    content, notices = revised(given, [same])
    assert notices == ()
    text = content.decode()
    for part in ("<!-- of the lab -->", "<o:Note>kept</o:Note>", "<?keep this?>", 'Name="n&amp;0"'):
        assert part in text
    found, stated = parse(content), parse(given)
    for attribute in ("PhysicalSizeY", "PhysicalSizeYUnit", "PhysicalSizeZUnit"):
        del found.find(f"{SPACE}Image/{SPACE}Pixels").attrib[attribute]
    assert ET.canonicalize(ET.tostring(found)) == ET.canonicalize(ET.tostring(stated))
    assert revised(content, [same]) == (content, ())


def test_planes_and_files_go_where_planes_have_changed():
    """They speak of planes that are not there any more."""
    content, (notice,) = revised(document(1), [made()])
    (found,) = parse(content).iter(f"{SPACE}Pixels")
    assert [child.tag.removeprefix(SPACE) for child in found] == ["Channel"] * 2 + ["MetadataOnly"]
    assert notice.kind == "lost"
    assert "Plane (4 times)" in notice.text
    resized, _ = revised(document(1), [made(shape=(2, 4, 24, 20))])
    assert b"<Plane" in resized
    cropped = made(shape=plates.SHAPE, part={"crop": {"z": [0, 2]}})
    assert b"<Plane" not in revised(document(1), [cropped])[0]


@pytest.mark.parametrize(("kept", "names"), [([1], ["dye 1"]), ([1, 0], ["dye 1", "dye 0"])])
def test_channels_are_those_that_were_selected(kept, names):
    image = made(shape=(len(kept), 4, 12, 10), part={"channels": kept}, source_shape=None)
    content, _ = revised(document(1), [image])
    assert [c.get("Name") for c in parse(content).iter(f"{SPACE}Channel")] == names


@pytest.mark.parametrize("kept", [[0, 0, 1], [5], None])
def test_channels_go_where_it_is_not_clear_which_they_are(kept):
    part = {} if kept is None else {"channels": kept}
    image = made(shape=(len(kept or [1]), 4, 12, 10), part=part, source_shape=None)
    content, (notice,) = revised(document(1), [image])
    assert b"<Channel" not in content
    assert "Channel (2 times)" in notice.text


@pytest.mark.parametrize("unit", [None, "furlong"])
def test_a_size_without_a_known_unit_is_left_out(unit):
    """Without one OME-XML would mean micrometres."""
    content, (notice,) = revised(document(1), [made(unit=unit)])
    assert not any(key.startswith("PhysicalSize") for key in pixels(content)[0])
    assert "PhysicalSizeX, which has no unit in the output (1 times)" in notice.text


def test_the_unit_of_the_document_counts_where_its_number_is_that_of_the_source():
    """Some converters write a unit there alone."""
    image = made(unit=None, source_voxel_size=(1.0, 2.0, 7.0, 0.5))
    found = pixels(revised(document(1), [image])[0])[0]
    assert (found["PhysicalSizeX"], found["PhysicalSizeXUnit"]) == ("0.125", "µm")
    assert (found["PhysicalSizeZ"], found["PhysicalSizeZUnit"]) == ("1.0", "µm")
    assert "PhysicalSizeY" not in found


def test_a_time_step_follows_a_selection():
    given = document(1).replace(b'SizeT="1"', b'SizeT="9" TimeIncrement="2.0"')
    grid = grid_for((3, *plates.SHAPE), (4.0, *plates.SIZE))
    axes = (replace(grid.axes[0], unit="second"), *grid.axes[1:])
    image = MadeImage(
        axes=axes, shape=grid.shape, voxel_size=grid.voxel_size, part={"timepoints": [0, 2, 4]}
    )
    found = pixels(revised(given, [image])[0])[0]
    assert (found["SizeT"], found["TimeIncrement"], found["TimeIncrementUnit"]) == ("3", "4.0", "s")
    unknown = replace(image, axes=grid.axes)
    content, (notice,) = revised(given, [unknown])
    assert "TimeIncrement" not in pixels(content)[0]
    assert "TimeIncrement" in notice.text


def test_images_that_were_not_made_go_with_what_refers_to_them():
    sample = '<WellSample ID="S:{0}"><ImageRef ID="Image:{0}"/></WellSample>'
    refs = "".join(f'<WellSampleRef ID="S:{k}"/>' for k in range(3))
    samples = "".join(map(sample.format, range(3)))
    inside = (
        f'<Dataset ID="D"><ImageRef ID="Image:0"/><ImageRef ID="Image:1"/></Dataset><Plate ID="P">'
        f'<Well ID="W">{samples}</Well><PlateAcquisition ID="A">{refs}</PlateAcquisition></Plate>'
    )
    content, _ = revised(document(3, inside=inside), [None, made(), None])
    root = parse(content)
    assert [e.get("ID") for e in root.iter(f"{SPACE}Image")] == ["Image:1"]
    assert [e.get("ID") for e in root.iter(f"{SPACE}ImageRef")] == ["Image:1"] * 2
    for tag in ("WellSample", "WellSampleRef"):
        assert [e.get("ID") for e in root.iter(f"{SPACE}{tag}")] == ["S:1"]


def test_rois_are_copied_and_that_is_announced():
    given = document(1, inside='<ROI ID="ROI:0"/>')
    _, notices = revised(given, [made()])
    assert "copied" in {n.kind for n in notices}
    assert revised(given, [made(shape=plates.SHAPE, size=plates.SIZE)])[1] == ()


BOMB = (
    '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<OME>&b;</OME>"
)
OUTSIDE = '<!DOCTYPE OME SYSTEM "file:///etc/passwd"><OME/>'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        ("<OME>&b;</OME>", "not valid XML"),
        ("<OME>", "not valid XML"),
        ("", "not valid XML"),
        ("<a>" * 5000, "nested deeper"),
        ("<OME/>", "describes 0 images, and the collection has 1"),
        (plates.ome_xml(2), "describes 2 images, and the collection has 1"),
        ('<OME><Image ID="I"/></OME>', "image 'I' has no Pixels"),
        (plates.ome_xml(1, shape=(2, 4, 12, 11)), "image 'Image:0' has the sizes"),
    ],
)
def test_what_is_no_description_of_the_images_is_refused(content, said):
    with pytest.raises(MetadataError, match=said):
        revised(content.encode(), [made()])


def test_a_document_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(omexml, "MOST_BYTES", 500)
    with pytest.raises(MetadataError, match="more than the 500 B that are read"):
        revised(document(), [made(), made()])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_encodings_are_read(encoding):
    text = plates.ome_xml(1).partition("?>")[2].replace("kept", "µ細")
    content, _ = revised(text.encode(encoding), [made()])
    assert "µ細" in content.decode()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real files here")
def test_real_documents_stay_what_they_were():
    """Sizes aside: the same elements in the same order."""
    files = sorted(DATA.rglob("*.ome.xml"))
    assert files
    for file in files:
        root = ET.fromstring(file.read_text())
        found = list(root.iter(f"{SPACE}Pixels"))
        axes = grid_for((1,) * 5).axes
        images = [
            MadeImage(
                axes=axes, shape=tuple(int(p.get(f"Size{d}")) for d in "TCZYX"), voxel_size=(1,) * 5
            )
            for p in found
        ]
        content, notices = revised(file.read_bytes(), images)
        assert [e.tag for e in parse(content).iter()] == [e.tag for e in root.iter()]
        assert notices == ()
