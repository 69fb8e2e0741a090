"""No coordinate system and no transformation is lost without a word, whatever a document says."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strict import schema_faults

from chunkscale.geometry.grid import Axis
from chunkscale.ome.carry import json_safe
from chunkscale.ome.compose import flattened
from chunkscale.ome.further import coordinate_notices, coordinate_record, coordinates
from chunkscale.ome.model import Dataset
from chunkscale.ome.read import describe
from chunkscale.ome.scenes import mirrored_scene
from chunkscale.ome.systems import system_fault, transform_fault
from chunkscale.ome.write import multiscale_attributes

AXES = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
OURS = (Axis(name="y", unit="micrometer"), Axis(name="x", unit="micrometer"))
SIZES, STARTS = {"s0": [0.5, 0.25], "s1": [1.0, 0.5]}, {"s0": [3.0, -1.0], "s1": [3.25, -0.875]}


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def shift(*values):
    return {"type": "translation", "translation": list(values)}


def document(systems=(), transforms=(), own="physical", version="0.6"):
    """Return an image of two levels with an affine transformation of each."""
    datasets = []
    for path in ("s0", "s1"):
        steps = [scale(*SIZES[path]), shift(*STARTS[path])]
        lead = {"type": "sequence", "transformations": steps}
        lead |= {"input": {"path": path}, "output": {"name": own}}
        datasets.append({"path": path, "coordinateTransformations": [lead]})
    entry = {"coordinateSystems": [{"name": own, "axes": AXES}, *systems], "datasets": datasets}
    if transforms:
        entry["coordinateTransformations"] = list(transforms)
    return {"ome": {"version": version, "multiscales": [entry]}}


def system(name, axes=AXES, **more):
    return {"name": name, "axes": axes, **more}


def lead(transform, begin, end, **more):
    ends = [e if isinstance(e, dict) or e is None else {"name": e} for e in (begin, end)]
    return {**transform, "input": ends[0], "output": ends[1], **more}


def written(attributes, version="0.6", labels=None, target=OURS, source=OURS, **options):
    """Return the document and the notices of an output of one level."""
    made = coordinates(attributes, source, target, labels=labels, **options)
    level = Dataset(path="0", voxel_size=(1.0, 1.0), translation=(3.25, -0.625))
    given = {"version": version, "axes": target, "levels": [level], "name": "x"}
    more = {"kind": "mean", "metadata": {}, "source": json_safe(attributes)[0]}
    found = multiscale_attributes(**given, **more, coordinates=made)
    axes = [{"name": a.name, "type": a.kind, "unit": a.unit} for a in target]
    if record := coordinate_record(made, version, axes):
        found["chunkscale"] = {"coordinates": json_safe(record)[0]}
    return found, [str(notice) for notice in coordinate_notices(made, version)]


def entry_of(attributes):
    return attributes["ome"]["multiscales"][0]


# --- whatever a document says --------------------------------------------------------------------

NUMBER = st.floats(-1e6, 1e6) | st.integers(-9, 9)
VALUES = st.lists(NUMBER, max_size=3) | st.sampled_from([[1, 2], [0.5, 2.0], None, "2"])
INDICES = st.permutations([0, 1]) | st.lists(st.integers(-1, 6), max_size=4) | st.none()
PATHS = st.sampled_from(["fields/0", "s0", 3])
SIMPLE = st.one_of(
    st.builds(lambda v: {"type": "scale", "scale": v}, VALUES),
    st.builds(lambda v: {"type": "translation", "translation": v}, VALUES),
    st.builds(lambda v: {"type": "mapAxis", "mapAxis": v}, INDICES),
    st.builds(lambda v: {"type": "projectAxis", "droppedInputs": v}, INDICES),
    st.builds(lambda m: {"type": "affine", "affine": m}, st.lists(VALUES, max_size=2)),
    st.builds(lambda p: {"type": "displacements", "path": p}, PATHS),
    st.builds(lambda p: {"type": "rotation", "path": p}, PATHS),
    st.sampled_from([{"type": "identity"}, {"type": "spline"}, {}]),
)
TRANSFORM = st.recursive(
    SIMPLE,
    lambda t: st.one_of(
        st.builds(lambda ts: {"type": "sequence", "transformations": ts}, st.lists(t, max_size=3)),
        st.builds(lambda a, b: {"type": "bijection", "forward": a, "inverse": b}, t, t),
        st.builds(
            lambda a, i: {"type": "byDimension", "transformations": [
                {"transformation": a, "inputAxes": i, "outputAxes": i}]},
            t, st.sampled_from([[0], [0, 1], ["y"], None]),
        ),
    ),
    max_leaves=4,
)  # fmt: skip
NAMES = ["physical", "world", "stage", "bad"]
END = st.sampled_from(
    [
        *({"name": name} for name in NAMES), *NAMES, {"path": "s0"}, {"path": "./s1"}, "s1",
        {"name": "physical", "path": "labels/a"}, {"name": "x", "path": "other"}, {"name": "gone"},
        {"name": "world", "path": ""}, None, 5, {},
    ]
)  # fmt: skip
SYSTEMS = st.sampled_from(
    [
        system("world"), system("stage", [{"name": n} for n in "abcdef"]), system("bad", AXES[:1]),
        system("world", [{"name": n, "type": "array"} for n in "ij"]), system("stage", note=1),
        {"name": "bad"}, {"axes": AXES, "note": 1},
    ]
)  # fmt: skip


def tagged(pairs):
    """Return transformations each with a name that no other has."""
    return [
        {
            **copy.deepcopy(t),
            "name": f"T{k}-",
            **({"input": a} if a is not None else {}),
            "output": b,
        }
        for k, (t, a, b) in enumerate(pairs)
    ]


@given(
    st.lists(SYSTEMS, max_size=4),
    st.lists(st.tuples(TRANSFORM, END, END), max_size=5).map(tagged),
    st.sampled_from(["0.4", "0.5", "0.6"]),
    st.sampled_from([None, (), ("labels/a",)]),
)
@settings(max_examples=150, deadline=None)
def test_each_system_and_transformation_is_in_the_output_or_named(
    systems, transforms, version, labels
):
    source = document(systems, transforms)
    before = copy.deepcopy(source)
    found, notices = written(source, version, labels)
    assert source == before
    text = " ".join(notices)
    record = found.get("chunkscale", {}).get("coordinates", {})
    entry = found.get("ome", found)["multiscales"][0]
    there = {t["name"] for t in entry.get("coordinateTransformations", ()) if version == "0.6"}
    for transform in transforms:
        if transform["name"] not in there:
            assert transform["name"] in text
            assert transform["name"] in json.dumps(record)
    listed = list(entry.get("coordinateSystems", ()))
    for stated in systems:
        if stated not in listed:
            name = repr(stated["name"]) if "name" in stated else "one without a name"
            assert f"the system {name}" in text
            held = [*record.get("coordinateSystems", ()), *record.get("left", ())]
            assert json.dumps(stated) in map(json.dumps, held)
    json.dumps(found, allow_nan=False)
    if version == "0.6":
        assert schema_faults(found, "0.6", "strict_image") == []
        again, more = written(found)
        assert entry_of(again) == {**entry, "datasets": entry_of(again)["datasets"]}
        assert not more or labels
    else:
        back, _ = written(found)
        direct, _ = written(source, "0.6", labels)
        assert entry_of(back) == entry_of(direct)  # nothing is lost on the way, and in this order


# --- what counts voxels --------------------------------------------------------------------------


def moved(transform, point):
    """Return where a transformation takes a point: by the definitions, one after another."""
    kind = transform["type"]
    if kind == "sequence":
        for inner in transform["transformations"]:
            point = moved(inner, point)
        return point
    if kind == "affine":
        return np.asarray(transform["affine"]) @ [*point, 1]
    if kind == "mapAxis":
        return point[transform["mapAxis"]]
    values = np.asarray(transform.get(kind, 0), float)
    return {"identity": point, "scale": point * values, "translation": point + values}[kind]


AFFINE = {"type": "affine", "affine": [[0, 2, 5], [1.5, 0, -1]]}
COUNTING = [
    scale(2, 3), shift(4, 5), AFFINE, {"type": "identity"}, {"type": "mapAxis", "mapAxis": [1, 0]},
    {"type": "sequence", "transformations": [shift(1, 2), scale(3, 4)]},
]  # fmt: skip


@pytest.mark.parametrize("path", ["s0", "s1"])
@pytest.mark.parametrize("transform", COUNTING)
def test_what_counts_voxels_of_the_source_is_led_from_where_they_lie(transform, path):
    """The output has other voxels, in the same space."""
    point = np.array([7.0, -3.0])
    place = point * SIZES[path] + STARTS[path]
    there = lead(transform, {"path": path}, "world", name="count")
    back = lead(transform, "world", {"path": path})
    found, notices = written(document([system("world")], [there, back]))
    first, second = entry_of(found)["coordinateTransformations"]
    assert (first["input"], first["name"]) == ({"name": "physical"}, "count")
    np.testing.assert_allclose(moved(first, place), moved(transform, point), rtol=1e-12)
    assert second["output"] == {"name": "physical"}
    voxel = moved(transform, point)
    np.testing.assert_allclose(moved(second, point), voxel * SIZES[path] + STARTS[path], rtol=1e-12)
    assert all("counts voxels" in text for text in notices)
    assert schema_faults(found, "0.6", "strict_image") == []


def test_a_transformation_of_voxels_to_where_they_lie_is_what_the_levels_say():
    transforms = [lead(scale(9, 9), {"path": "s0"}, "physical")]
    found, (text,) = written(document([], transforms))
    assert "coordinateTransformations" not in entry_of(found)
    assert "which the levels say themselves" in text


def test_voxel_sizes_that_were_given_end_what_leads_from_the_voxels():
    transforms = [lead(AFFINE, "physical", "world"), lead(AFFINE, "world", "stage", name="kept")]
    source = document([system("world"), system("stage")], transforms)
    found, (text,) = written(source, redefined=True)
    assert [t["name"] for t in entry_of(found)["coordinateTransformations"]] == ["kept"]
    assert "voxel sizes were given" in text


def test_other_units_are_a_system_of_their_own():
    """What leads on from the source's system leads on from there."""
    target = tuple(Axis(name=n, unit="nanometer") for n in "yx")
    source = document([system("world")], [lead(AFFINE, "physical", "world")])
    found, notices = written(source, target=target)
    entry = entry_of(found)
    assert [s["name"] for s in entry["coordinateSystems"]] == [
        "physical (nanometer)", "physical", "world",
    ]  # fmt: skip
    first, second = entry["coordinateTransformations"]
    ends = {"input": {"name": "physical (nanometer)"}, "output": {"name": "physical"}}
    assert first == {"type": "scale", "scale": [0.001, 0.001], **ends}
    assert second == entry_of(source)["coordinateTransformations"][0]
    assert "units are not those of the source" in notices[0]


# --- one of the drafts, and the record -----------------------------------------------------------


def test_axes_that_changed_on_the_way_leave_the_record_as_it_is():
    found, _ = written(document([system("world")], [lead(AFFINE, "physical", "world")]), "0.5")
    entry_of(found)["axes"] = [{**axis, "unit": "millimeter"} for axis in AXES]
    changed = tuple(Axis(name=n, unit="millimeter") for n in "yx")
    again, (text,) = written(found, source=changed, target=changed)
    assert "its axes are others now" in text
    assert "world" in json.dumps(again["chunkscale"]["coordinates"]["left"])


def test_a_name_that_is_taken_is_not_the_voxels():
    """Beside the axes of a draft nothing says which of two equal systems is theirs."""
    entry = {
        "axes": AXES, "version": "0.4",
        "datasets": [{"path": "s0", "coordinateTransformations": [scale(1, 1)]}],
        "coordinateSystems": [system("physical"), system("world")],
    }  # fmt: skip
    found, _ = written({"multiscales": [entry]})
    names = [s["name"] for s in entry_of(found)["coordinateSystems"]]
    assert names == ["physical_", "physical", "world"]


# --- reading -------------------------------------------------------------------------------------

STEPS = st.recursive(
    st.one_of(
        st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)).map(lambda v: scale(*v)),
        st.tuples(st.floats(-9, 9), st.floats(-9, 9)).map(lambda v: shift(*v)),
        st.just({"type": "identity"}),
        st.just({"type": "mapAxis", "mapAxis": [0, 1]}),
    ),
    lambda t: st.lists(t, max_size=3).map(lambda ts: {"type": "sequence", "transformations": ts}),
    max_leaves=6,
)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_nested_sequences_are_composed_in_their_order(transform):
    point = np.array([3.0, 5.0])
    steps = {"type": "sequence", "transformations": flattened(transform, 2)}
    np.testing.assert_allclose(moved(steps, point), moved(transform, point), rtol=1e-9, atol=1e-9)
    kinds = [step["type"] for step in steps["transformations"] if step["type"] != "identity"]
    assert kinds in ([], ["scale"], ["translation"], ["scale", "translation"])


def test_axes_that_are_transformed_each_for_itself():
    inner = [scale(2), {"type": "sequence", "transformations": [scale(3), shift(4)]}]
    listed = [
        {"transformation": t, "inputAxes": [1 - k], "outputAxes": [1 - k]}
        for k, t in enumerate(inner)
    ]
    source = document()
    for dataset in entry_of(source)["datasets"]:
        (found,) = dataset["coordinateTransformations"]
        del found["transformations"]
        found |= {"type": "byDimension", "transformations": listed}
    (first, _) = describe(source).datasets
    assert (first.voxel_size, first.translation) == ((3, 2), (4, 0))
    listed[1]["outputAxes"] = [1]  # axes change places
    with pytest.raises(Exception, match="byDimension"):
        describe(source)


# --- validity, as the schemas have it ------------------------------------------------------------


@given(TRANSFORM)
@settings(max_examples=150, deadline=None)
def test_transformations_are_valid_where_the_schemas_say_so(transform):
    source = document([system("world")], [lead(transform, "physical", "world")])
    fault = transform_fault(transform)
    if "its affine" in fault:  # rows of different lengths, which schemas cannot tell
        return
    assert bool(fault) == bool(schema_faults(source, "0.6", "image"))


@given(SYSTEMS)
def test_systems_are_valid_where_the_schemas_say_so(stated):
    assert bool(system_fault(stated)) == bool(schema_faults(document([stated]), "0.6", "image"))


def test_a_whole_number_beyond_all_arithmetic_is_no_number():
    """JSON has them of any size; schemas let them pass."""
    for values in ([10**400, 1], [[10**400, 0, 0], [0, 1, 0]]):
        kind = "affine" if isinstance(values[0], list) else "scale"
        assert "is" in transform_fault({"type": kind, kind: values})
        assert not transform_fault(
            {"type": kind, kind: [[1, 0, 0], [0, 1, 0]] if kind == "affine" else [1, 1]}
        )


# --- scenes --------------------------------------------------------------------------------------


def at(path, name="physical"):
    return {"path": path, "name": name}


def test_a_scene_stays_as_it_is_with_all_of_its_images():
    scene = {
        "coordinateSystems": [system("world")],
        "coordinateTransformations": [
            lead(shift(1, 2), at("a"), "world"), lead(AFFINE, at("b/c"), "world"),
        ],
        "note": 1,
    }  # fmt: skip
    made = mirrored_scene(scene, {"a", "b/c"})
    assert (made.scene, made.left, made.losses) == (scene, {}, ())
    attributes = {"ome": {"version": "0.6", "scene": made.scene}}
    assert schema_faults(attributes, "0.6", "scene") == []
    part = mirrored_scene(scene, {"a"})
    assert len(part.scene["coordinateTransformations"]) == 1
    assert part.left == {"coordinateTransformations": scene["coordinateTransformations"][1:]}
    assert "'b/c', which was not made" in part.losses[0]


def test_a_scene_that_would_not_list_its_images_is_none():
    scene = {"coordinateTransformations": [lead(AFFINE, at("a"), at("b"), name="T1")]}
    made = mirrored_scene(scene, {"a"})
    assert made.scene is None
    assert made.left["coordinateTransformations"] == scene["coordinateTransformations"]
    assert "T1" in " ".join(made.losses)
