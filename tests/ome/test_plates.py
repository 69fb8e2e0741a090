"""Plates and wells that are made from others follow the rules of their version."""

import copy
import importlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strict import schema_faults

from chunkscale.ome.model import Collection
from chunkscale.ome.plates import MadeWell, layout_of, mirrored_plate, mirrored_well
from chunkscale.ome.read import describe

VERSIONS = ["0.4", "0.5"]

PLATE = {
    "version": "0.4",
    "name": "test",
    "rows": [{"name": "A"}, {"name": "B", "colour": 3}],
    "columns": [{"name": "1"}, {"name": "2"}, {"name": "3"}],
    "wells": [
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
        {"path": "B/3", "rowIndex": 1, "columnIndex": 2, "treated": True},
    ],
    "acquisitions": [
        {"id": 4, "name": "dawn", "maximumfieldcount": 3, "starttime": 17, "lamp": "new"},
        {"id": 7, "name": "dusk", "maximumfieldcount": 1},
    ],
    "field_count": 9,
    "vendor": {"serial": 5},
}


def well(path, *acquisitions, whole=True):
    counts = {a: acquisitions.count(a) for a in acquisitions}
    return MadeWell(path=path, fields=len(acquisitions), acquisitions=counts, whole=whole)


def inner(attributes, version, kind):
    """Return the object of a kind, which lies where the version has it."""
    holder = attributes if version == "0.4" else attributes["ome"]
    assert (holder is attributes) or holder["version"] == version
    assert holder[kind].get("version", "0.5") == version
    return holder[kind]


def strict(attributes, version, kind):
    assert schema_faults(attributes, version, f"strict_{kind}") == []
    models = pytest.importorskip("ome_zarr_models", exc_type=ImportError)
    name = {"plate": "hcs", "well": "well"}[kind]
    module = importlib.import_module(f"{models.__name__}.v{version.replace('.', '')}.{name}")
    model = {"plate": "HCSAttrs", "well": "WellAttrs"}[kind]
    getattr(module, model).model_validate(attributes.get("ome", attributes))
    yaozarrs = pytest.importorskip("yaozarrs", exc_type=ImportError)
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    yaozarrs.validate_ome_json(json.dumps(attributes if version == "0.4" else group))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_plate_says_what_its_source_says(version, nested):
    """Between versions only the place of its keys changes; counts are those of the fields."""
    source = {"lab": 1, **({"ome": {"version": "0.5", "plate": PLATE, "own": 2}} if nested else {
        "plate": PLATE, "own": 2})}  # fmt: skip
    before = copy.deepcopy(source)
    made, notices = mirrored_plate(source, version, [well("A/1", 4, 4), well("B/3", 7)], "x")
    assert notices == ()
    assert source == before
    plate = inner(made, version, "plate")
    expected = {**PLATE, "field_count": 2}
    assert {**plate, "version": "0.4"} == expected
    own = made["ome"] if version == "0.5" and nested else made
    assert (made["lab"], own["own"]) == (1, 2)
    strict(made, version, "plate")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_of_a_plate_has_its_wells_fields_and_acquisitions_alone(version):
    """Rows and columns stay, so that indices stay true."""
    made, _ = mirrored_plate({"plate": PLATE}, version, [well("B/3", 4, 4, 4, 4)], "x")
    plate = inner(made, version, "plate")
    assert plate["wells"] == PLATE["wells"][1:]
    assert (plate["rows"], plate["columns"]) == (PLATE["rows"], PLATE["columns"])
    assert plate["acquisitions"] == [{**PLATE["acquisitions"][0], "maximumfieldcount": 4}]
    assert plate["field_count"] == 4
    strict(made, version, "plate")


def test_an_acquisition_stays_where_fields_do_not_say_of_which_they_are():
    made, notices = mirrored_plate({"plate": PLATE}, "0.4", [well("B/3", None, None)], "x")
    assert [a["maximumfieldcount"] for a in made["plate"]["acquisitions"]] == [2, 2]
    assert notices == ()


def test_indices_follow_the_path_and_names_are_added():
    """Readers go by the path; a row that the plate does not have would hide the well."""
    wells = [
        {"path": "A/2", "rowIndex": 1, "columnIndex": 0},
        {"path": "C/1", "rowIndex": "2"},
        {"path": "deep/er/1"},
    ]
    source = {"plate": {**PLATE, "wells": wells}}
    made, (notice,) = mirrored_plate(source, "0.4", [well(w["path"], 4) for w in wells], "x")
    placed = [(w["rowIndex"], w["columnIndex"]) for w in made["plate"]["wells"]]
    assert placed == [(0, 1), (2, 0), (0, 0)]
    assert [row["name"] for row in made["plate"]["rows"]] == ["A", "B", "C"]
    for text in (
        "rowIndex of 'A/2' is 1, and 'A' is number 0",
        "columnIndex of 'A/2' is 0, and '2' is number 1",
        "no row is called 'C'",
        "'deep/er/1' is not of the form row/column",
    ):
        assert text in notice.text
    assert notice.kind == "metadata"


def test_what_a_plate_should_have_is_completed():
    """A name, and for acquisitions a name and how many fields they have."""
    bare = {"wells": [{"path": "A/1"}], "acquisitions": [{"id": 4}]}
    made, (notice,) = mirrored_plate({"plate": bare}, "0.5", [well("A/1", 4, 9)], "experiment")
    plate = made["ome"]["plate"]
    assert plate["name"] == "experiment"
    assert plate["acquisitions"] == [
        {"name": "4", "id": 4, "maximumfieldcount": 1},
        {"name": "9", "id": 9, "maximumfieldcount": 1},
    ]
    assert "acquisitions does not have 9, which wells name (added)" in notice.text
    strict(made, "0.5", "plate")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_well_has_the_fields_that_were_made(version):
    images = [{"path": "0", "acquisition": 4, "x": 1}, *({"path": p} for p in ("./1", "1", "2"))]
    source = {"well": {"version": "0.3", "images": images, "dose": 8}, "more": 1}
    made, found, notices = mirrored_well(source, version, "A/1", {"0", "1"})
    stated = inner(made, version, "well")
    assert stated["images"] == [images[0], {"path": "1"}]
    assert (stated["dose"], made["more"], notices) == (8, 1, ())
    assert found == MadeWell(path="A/1", fields=2, acquisitions={4: 1, None: 1}, whole=False)
    assert mirrored_well(source, version, "A/1", {"0", "1", "2"})[1].whole
    strict(made, version, "well")


def test_what_json_cannot_hold_is_announced():
    source = {"well": {"images": [{"path": "0"}], "dose": float("nan")}}
    made, _, (notice,) = mirrored_well(source, "0.4", "A/1", {"0"})
    assert made["well"]["dose"] is None
    assert "well.dose is nan" in notice.text


def test_the_layout_number_is_the_one_that_there_is():
    assert layout_of({"ome": {"bioformats2raw.layout": "3"}}) == {"bioformats2raw.layout": 3}
    assert layout_of({"plate": {}}) == {}


# --- whatever a plate says -----------------------------------------------------------------------

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.floats(), st.text(max_size=3),
    st.sampled_from(["A", "B", "1", "2", "7", "1.5", "nan"]),
)  # fmt: skip
ANYTHING = st.recursive(
    ATOMS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3)
)


def entry(*keys, **known):
    return st.fixed_dictionaries({}, optional={k: known.get(k, ANYTHING) for k in (*keys, *known)})


NAMES = st.sampled_from(["A", "B", "1", "2", "17"])
NAMED = st.lists(entry(name=NAMES | st.integers(0, 30)) | ATOMS, max_size=4) | ANYTHING
NUMBERS = st.integers(-1, 5) | ATOMS
ACQUISITION = entry("description", id=NUMBERS, name=ATOMS, maximumfieldcount=NUMBERS,
                    starttime=NUMBERS, endtime=NUMBERS)  # fmt: skip
WELL = st.builds(
    lambda row, column, more: {**more, "path": f"{row}/{column}"},
    NAMES, NAMES, entry(rowIndex=NUMBERS, columnIndex=NUMBERS, more=ANYTHING),
)  # fmt: skip
IMAGES = st.lists(
    st.builds(lambda path, more: {**more, "path": path}, st.sampled_from("0123"),
              entry(acquisition=NUMBERS)), min_size=1, max_size=5,
)  # fmt: skip


@given(
    plate=entry("name", "field_count", "version", "more", rows=NAMED, columns=NAMED,
                acquisitions=st.lists(ACQUISITION | ATOMS, max_size=4) | ANYTHING),
    wells=st.lists(WELL, min_size=1, max_size=5),
    images=IMAGES,
    dropped=st.integers(0, 4),
    version=st.sampled_from(VERSIONS),
)  # fmt: skip
def test_strict_readers_take_whatever_is_mirrored(plate, wells, images, dropped, version):
    """And it is mirrored as it is: mending is done with."""
    fields = {image["path"] for image in images}
    kept = sorted(fields)[: max(1, len(fields) - dropped)]
    made, found, _ = mirrored_well({"well": {"images": images}}, version, "A/1", kept)
    strict(made, version, "well")
    again, same, notices = mirrored_well(made, version, "A/1", kept)
    assert (again, notices, same.fields) == (made, (), found.fields)
    paths = list(dict.fromkeys(w["path"] for w in wells))
    parts = [
        MadeWell(path=p, fields=found.fields, acquisitions=found.acquisitions, whole=found.whole)
        for p in paths[: max(1, len(paths) - dropped)]
    ]
    result, _ = mirrored_plate({"plate": {**plate, "wells": wells}}, version, parts, "x")
    strict(result, version, "plate")
    described = describe(result)
    assert isinstance(described, Collection)
    assert described.paths == tuple(part.path for part in parts)
    whole = [MadeWell(path=p.path, fields=p.fields, acquisitions=p.acquisitions, whole=True)
             for p in parts]  # fmt: skip
    assert mirrored_plate(result, version, whole, "y") == (result, ())
