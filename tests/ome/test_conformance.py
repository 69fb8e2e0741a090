"""The rules of OME-Zarr: the code decides as docs/CONFORMANCE.md says, and the table lacks none."""

import copy
import importlib
import json
import math
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkscale.errors import MetadataError
from chunkscale.geometry.grid import resized_grid
from chunkscale.ome.carry import carried, mended
from chunkscale.ome.model import Collection, Dataset
from chunkscale.ome.read import describe, grid_of
from chunkscale.ome.rules import metadata_notices
from chunkscale.ome.write import multiscale_attributes

ROOT = Path(__file__).parents[2]
SPEC = ROOT.parent / "shared/data/spec_json"


def table():
    """Return the rows of the table: decision and patterns of tests, by key."""
    lines = (ROOT / "docs/CONFORMANCE.md").read_text().splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    assert [len(row) for row in cells] == [5] * len(cells)
    found = {row[0]: (row[2], [p for p in row[4].split(", ") if p]) for row in cells[2:]}
    assert len(found) == len(cells) - 2
    return found


RULES = table()


def decision(attributes):
    """Say what becomes of the attributes of a group."""
    try:
        image = describe(attributes)
        if isinstance(image, Collection):
            return "listed"
        shape = [2 if axis.kind == "channel" else 4 for axis in image.axes]
        grids = [grid_of(image, level, shape) for level in range(len(image.datasets))]
    except MetadataError:
        return "refused"
    notices = (*metadata_notices(attributes, image), *mended(attributes, grids[0], "uint8")[1])
    return "warned" if any(n.kind == "metadata" for n in notices) else "taken"


# --- an example of each rule ---------------------------------------------------------------------


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def axes(names="yx"):
    kinds = {"t": "time", "c": "channel"}
    return [{"name": n, "type": kinds.get(n, "space")} for n in names]


def image(*transforms, names="yx", version="0.4", outer=(), **entry):
    transforms = list(transforms or [scale(*[1] * len(names))])
    dataset = {"path": "0", "coordinateTransformations": transforms}
    entry = {"version": version, "axes": axes(names), "datasets": [dataset], **entry}
    return {"multiscales": [entry], **dict(outer)}


def newer(version="0.5", *transforms, **entry):
    found = image(*transforms, **entry)
    del found["multiscales"][0]["version"]
    return {"ome": {"version": version, **found} if version else found}


def draft(*transforms, kind="space", ends=({"path": "0"}, {"name": "s"}), **more):
    """Return an image of version 0.6."""
    given = [{**t, "input": ends[0], "output": ends[1]} for t in transforms or [scale(1, 1)]]
    typed = [{"name": n, "type": kind} for n in "yx"]
    dataset = {"path": "0", "coordinateTransformations": given}
    entry = {"coordinateSystems": [{"name": "s", "axes": typed}], "datasets": [dataset], **more}
    return {"ome": {"version": "0.6", "multiscales": [entry]}}


SHIFT = {"type": "translation", "translation": [0, 1]}
WINDOW = {"min": 0, "max": 9, "start": 0, "end": 9}
TWO = {"channels": [{"color": "FF0000", "window": WINDOW}] * 2}
LABEL = {"version": "0.4", "colors": [{"label-value": 1, "rgba": [1, 2, 3, 4]}]}
VALID = [
    image(),
    newer(),
    draft(),
    image(names="tczyx"),
    image(scale(1, 1), SHIFT),
    image(coordinateTransformations=[scale(2, 2)]),
    draft({"type": "identity"}),
    draft({"type": "sequence", "transformations": [scale(1, 1), SHIFT]}),
    image(outer={"omero": {"channels": [{"color": "FF0000", "window": WINDOW}]}}),
    image(outer={"image-label": LABEL}),
]
SYSTEM = {"coordinateSystems": [{"name": "s", "axes": axes()}]}
SCENE = {"coordinateTransformations": [{"input": {"path": "a"}, "output": {"name": "world"}}]}
UNTYPED = [{"name": "y"}, {"name": "x"}]

EXAMPLES = {
    "json": ["{"],
    "version": [image(version="0.7"), newer("1.0")],
    "multiscales": [{"multiscales": []}, {"multiscales": {}}, {"ome": {"multiscales": None}}],
    "several": [{"multiscales": image()["multiscales"] * 2}],
    "datasets": [image(datasets=[]), image(datasets=[{"path": 0}]), image(datasets=None)],
    "axes": [image(axes=None), image(axes=[]), newer(axes={}), draft(coordinateSystems=[])],
    "axis-count": [image(scale(1), names="x"), image(names="tczyxw")],
    "axis-space": [image(names="tx"), image(names="wzyx")],
    "axis-one": [image(axes=[{"name": "u", "type": "time"}, *axes("tyx")], names="utyx")],
    "axis-order": [image(names="yxc"), image(names="ctyx")],
    "axis-unique": [image(names="xx")],
    "axis-name": [image(axes=[{"type": "space"}, {"name": "x", "type": "space"}])],
    "axis-contradicts": [image(axes=[{"name": n, "type": k}, *axes()], names="zyx") for n, k in
                         (("z", "channel"), ("z", "Time"), ("c", "space"))],
    "axis-spelled": [image(axes=[{"name": "z", "type": k}, *axes()], names="zyx") for k in
                     ("Space", "spatial", "z", "")],
    "axis-custom": [image(axes=[{"name": n, "type": "slice"}, *axes()], names="zyx")
                    for n in "zct"],
    "axis-array": [draft(kind="array")],
    "transform-kind": [image(scale(1, 1), {"type": "affine"}), draft({"type": "rotation"})],
    "scale-missing": [image({"type": "identity"}), image(datasets=[{"path": "0"}])],
    "scale-twice": [image(scale(1, 1), scale(1, 1))],
    "translation-order": [image({"type": "translation", "translation": [0, 0]}, scale(1, 1))],
    "numbers": [image(scale(1)), image(scale(1, "1")), image(scale(1, 1, 1))],
    "scale-zero": [image(scale(0, 1)), image(scale(math.nan, 1)), draft(scale(1, None))],
    "scale-negative": [
        image(scale(-1, 1)), image(scale("-1", 1)), draft(scale(1, -0.5)),
        image(coordinateTransformations=[scale(-1)]),
    ],
    "collection": [{"plate": {"wells": {}}}, {"well": {}}, {"plate": {"wells": [{}]}}],
    "no-image": [{}, {"coordinateSystems": []}],
    "path-inside": [image(datasets=[{"path": "../b/0"}]), {"well": {"images": [{"path": "/0"}]}}],
    "scene-paths": [{"ome": {"version": "0.6", "scene": {}}}],
    "scale-other": [image(scale(s, 1, 1), names="tyx") for s in (0, -1, math.nan, None)],
    "axis-type": [image(axes=UNTYPED), newer(axes=UNTYPED)],
    "axis-text": [image(axes=["y", "x"])],
    "systems": [newer(**SYSTEM, axes=None), newer("0.6"), draft(axes=axes("xy"))],
    "identity": [image(scale(1, 1), {"type": "identity"})],
    "common-empty": [image(coordinateTransformations=[])],
    "ome": [image(version="0.5")],
    "ome-version": [newer(None)],
    "path-twice": [image(datasets=image()["multiscales"][0]["datasets"] * 2)],
    "transform-form": [
        draft({"type": "sequence", "transformations": t}) for t in
        ([SHIFT, scale(1, 1)], [scale(1, 1), scale(2, 2)], [{"type": "mapAxis", "mapAxis": [0, 1]}])
    ],
    "draft": [newer("0.9.dev1", axes=None, **SYSTEM)],
    "ends": [
        draft(ends=({"path": "1"}, {"name": "s"})),
        draft(ends=({"name": "0"}, {"name": "s"})),
        draft(ends=(None, {"name": "s"})),
    ],
    "finite": [image(outer={"a": [{"b": math.nan}]}), newer(keep=-math.inf)],
    "omero": [
        image(outer={"omero": o}) for o in ({}, {"channels": [{}]}, {"channels": 1}, TWO)
    ],
    "image-label": [image(outer={"image-label": {"colors": c}}) for c in ([], [{}], 1)],
    "axis-untyped": [image(axes=[{"name": "angle"}, *axes()], names="ayx")],
    "ends-text": [draft(ends=("0", "s"))],
    "old-version": [image(version="0.3"), image(version="0.3", axes=["y", "x"])],
    "label-version": [image(outer={"image-label": {}})],
    "beyond": [draft(coordinateTransformations=[{"type": "rotation"}])],
    "scene": [{"ome": {"version": "0.6", "scene": SCENE}}],
    "plate": [{"plate": {"wells": [{"path": "A/1"}]}}, {"well": {"images": [{"path": "0"}]}}],
}  # fmt: skip


def test_each_rule_has_an_example():
    assert set(EXAMPLES) == set(RULES)


@pytest.mark.parametrize("key", EXAMPLES)
def test_each_rule_is_decided_as_the_table_says(key):
    for attributes in EXAMPLES[key]:
        assert decision_of(attributes) == RULES[key][0], attributes


@pytest.mark.parametrize("attributes", VALID)
def test_what_is_valid_is_taken(attributes):
    """Without a word: every rule above is broken by its example alone."""
    assert decision(attributes) == "taken"


# --- every test and example of the specification -------------------------------------------------


def text_of(path):
    """Return JSON without the comments that the examples have."""
    return re.sub(r"(?m)(^|\s)//.*$", "", path.read_text())


def decision_of(attributes):
    if isinstance(attributes, str):
        try:
            attributes = json.loads(attributes, strict=False)
        except ValueError:
            return "refused"
        attributes = attributes.get("attributes", attributes)
    inner = attributes.get("ome", attributes)
    if "image-label" in inner and "multiscales" not in inner:
        # The suites for labels have half an image.
        attributes = copy.deepcopy(attributes)
        inner = attributes.get("ome", attributes)
        inner |= draft()["ome"] if str(inner.get("version")).startswith("0.6") else image()
    return decision(attributes)


def spec_cases():
    """Yield name, validity, and attributes or text of all that the specification has."""
    for version in ("0.4", "0.5"):
        for suite in sorted((SPEC / version / "tests").glob("*.json")):
            kind = suite.stem.removeprefix("strict_").removesuffix("_suite")
            for case in json.loads(suite.read_text())["tests"]:
                name = Path(case["formerly"]).stem
                yield f"{version}/{kind}/{name}", case["valid"], case["data"]
    tests = SPEC / "0.6dev/tests"
    for path in sorted(tests.rglob("*.json")):
        kind, name = path.relative_to(tests).parts[3:5]
        name = name.removesuffix(".json").replace(".ome.zarr", ".zarr")
        yield f"0.6/{kind}/{name}", "invalid" not in path.parts, text_of(path)
    for version in ("0.4", "0.5", "0.6dev"):
        for path in sorted((SPEC / version / "examples").rglob("[!.]*.json")):
            kind = "transformations/" if path.parent.name == "transformations" else ""
            name = f"{version.removesuffix('dev')}/example/{kind}{path.stem}"
            yield name, "Invalid" not in path.stem, text_of(path)


CASES = list(spec_cases()) if SPEC.is_dir() else []
needs_spec = pytest.mark.skipif(not CASES, reason="no files of the specification here")


def spellings(name):
    """Return the ways to name a case in the table."""
    bare = name.removesuffix(".zarr")
    return (name, bare, name.split("/", 1)[1], bare.split("/", 1)[1])


def rows_of(name):
    """Return the rows that name a case most exactly."""
    found = {}
    for key, (_, patterns) in RULES.items():
        for pattern in patterns:
            if any(fnmatch(spelling, pattern) for spelling in spellings(name)):
                found[key] = max(len(pattern), found.get(key, 0))
    return [key for key, length in found.items() if length == max(found.values())]


@needs_spec
@pytest.mark.parametrize(("name", "valid", "attributes"), CASES, ids=[c[0] for c in CASES])
def test_the_specification_is_decided_as_the_table_says(name, valid, attributes):
    """What is invalid is in the table; what is valid and not in it is taken, or listed."""
    keys = rows_of(name)
    assert len(keys) <= 1, f"{name} is in several rows: {keys}"
    if not keys:
        assert valid, f"{name} is invalid, and no row of the table names it"
        assert decision_of(attributes) in ("taken", "listed")
    else:
        assert decision_of(attributes) == RULES[keys[0]][0]


@needs_spec
def test_no_row_names_a_test_that_is_not_there():
    names = [spelling for name, _, _ in CASES for spelling in spellings(name)]
    assert len(CASES) > 300
    for key, (_, patterns) in RULES.items():
        for pattern in patterns:
            assert any(fnmatch(name, pattern) for name in names), (key, pattern)


# --- whatever is said of how an image is shown ---------------------------------------------------

KEYS = {
    "omero": ["channels", "id", "name", "version", "rdefs", "size", "pixel_size", "levels"],
    "channel": ["color", "window", "label", "family", "active", "inverted", "coefficient"],
    "window": ["min", "max", "start", "end"],
    "rdefs": ["defaultT", "defaultZ", "model", "projection"],
    "label": ["colors", "properties", "version", "source"],
    "entry": ["label-value", "rgba", "class", "area"],
}
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["#ff0000", "00ff00", "red", "12", "1.5", "nan", "1e999", "true"]),
)
ANYTHING = st.recursive(
    ATOMS, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=3), x, max_size=3)
)


def holder(kind, **known):
    """Return a strategy for an object that has some of the keys that it should have."""
    return ANYTHING | st.fixed_dictionaries(
        {}, optional={key: known.get(key, ANYTHING) for key in KEYS[kind]}
    )


RGBA = st.lists(st.integers(-1, 256), min_size=3, max_size=5)
CHANNELS = st.lists(holder("channel", window=holder("window")), max_size=3)
OMERO = holder("omero", channels=ANYTHING | CHANNELS, rdefs=holder("rdefs"))
ENTRIES = st.lists(
    holder("entry", **{"label-value": st.integers(0, 3) | ANYTHING, "rgba": RGBA | ANYTHING}),
    max_size=4,
)
LABELS = holder("label", colors=ENTRIES, properties=ENTRIES)


@given(OMERO, LABELS, st.booleans(), st.sampled_from(["0.4", "0.5"]), ANYTHING)
@settings(max_examples=100, deadline=None)
def test_strict_readers_take_whatever_is_taken_over(omero, label, is_label, version, more):
    models = pytest.importorskip("ome_zarr_models", exc_type=ImportError)
    yaozarrs = pytest.importorskip("yaozarrs", exc_type=ImportError)
    source = image(names="zyx", outer={"omero": omero, "more": more})
    if is_label:
        source["image-label"] = label
    grid = grid_of(describe(source), 0, (4, 5, 6))
    target = resized_grid(grid, {0: 0.3, 1: 2.0})
    kept, _ = carried(source, grid, target, "uint16")
    made = multiscale_attributes(
        version=version,
        axes=target.axes,
        levels=[Dataset(path="0", voxel_size=target.voxel_size, translation=target.translation)],
        source=kept,
    )
    json.dumps(made, allow_nan=False)
    inner = made.get("ome", made)
    module = f"{models.__name__}.v{version.replace('.', '')}.image_label"
    if is_label:
        importlib.import_module(module).ImageLabelAttrs.model_validate(inner)
    if "omero" in inner:
        common = importlib.import_module("ome_zarr_models.common.omero")
        common.Omero.model_validate(inner["omero"])
    document = (
        made if version == "0.4" else {"zarr_format": 3, "node_type": "group", "attributes": made}
    )
    yaozarrs.validate_ome_json(json.dumps(document))
    assert carried(kept, grid, grid, "uint16")[0] == kept
    assert mended(kept, grid, "uint16")[1] == ()
