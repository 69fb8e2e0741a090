"""OME-NGFF metadata: what is read, what is refused, what is written."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strict import schema_faults

from chunkscale.errors import MetadataError, MultipleImagesError, NotAnImageError, OptionError
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.ome.axes import axis_entries
from chunkscale.ome.extents import extent_faults
from chunkscale.ome.model import Collection, Dataset, Multiscale
from chunkscale.ome.read import describe, grid_of
from chunkscale.ome.rules import metadata_notices, validate
from chunkscale.ome.write import (
    complete_attributes,
    dataset_entries,
    downscaling_metadata,
    multiscale_attributes,
)
from chunkscale.storage.groups import compose_multiscales

DATA = Path(__file__).parents[3] / "shared" / "data"
VERSIONS = ("0.4", "0.5")
METADATA = downscaling_metadata("chunkscale (mean)", version="1.0", parameters={"factor": 2})
T, C = Axis(name="t", kind="time", unit="second"), Axis(name="c", kind="channel")
ZYX = tuple(Axis(name=n, unit="micrometer") for n in "zyx")
NAN, INF = math.nan, math.inf


def scale(*values: Any) -> dict[str, Any]:
    return {"type": "scale", "scale": list(values)}


def translation(*values: Any) -> dict[str, Any]:
    return {"type": "translation", "translation": list(values)}


def entry(*transforms: Any, axes: Any = "zyx", **more: Any) -> dict[str, Any]:
    """Return a multiscales entry with one dataset."""
    kinds = {"t": "time", "c": "channel"}
    if isinstance(axes, str):
        axes = [{"name": n, "type": kinds.get(n, "space")} for n in axes]
    dataset = {"path": "s0", "coordinateTransformations": list(transforms)}
    return {"axes": axes, "datasets": [dataset], **more}


def group(*transforms: Any, **more: Any) -> dict[str, Any]:
    """Return the attributes of a 0.4 group with one dataset."""
    return {"multiscales": [entry(*transforms, **{"version": "0.4", **more})]}


def image_of(attributes: dict[str, Any]) -> Multiscale:
    image = describe(attributes)
    assert isinstance(image, Multiscale)
    return image


def pyramid_levels(shape: tuple[int, ...] = (5, 9, 16)) -> tuple[Any, list[tuple[int, ...]]]:
    """Return three levels as this package makes them, and their shapes."""
    levels, shapes, size = [], [], (2.0, 0.5, 0.25)
    origin = (10.0, -3.0, 0.125)
    for k in range(3):
        f = 2**k
        levels.append(
            Dataset(
                path=str(k),
                voxel_size=tuple(f * s for s in size),
                translation=tuple(t + (f - 1) / 2 * s for t, s in zip(origin, size, strict=True)),
            )
        )
        shapes.append(shape)
        shape = tuple(-(-n // 2) for n in shape)
    return tuple(levels), shapes


LEVELS, SHAPES = pyramid_levels()


# --- invariants --------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=5)
units = st.sampled_from([None, "micrometer", "micron", "µm", "pixel", "nanometer"])
positive = st.floats(1e-100, 1e100)
finite = st.floats(-1e300, 1e300)


@st.composite
def images(draw: st.DrawFn) -> Multiscale:
    kinds = draw(st.sampled_from([[], ["time"]])) + draw(
        st.sampled_from([[], ["channel"], ["custom"], ["angle"]])
    )
    kinds += ["space"] * draw(st.integers(2, 3))
    # What a name contradicts is refused.
    free = names.filter(lambda name: name.lower() not in "tczyx")
    spelled = draw(st.lists(free, min_size=len(kinds), max_size=len(kinds), unique=True))
    axes = tuple(
        Axis(name=n, kind=k, unit=draw(units)) for n, k in zip(spelled, kinds, strict=True)
    )
    n = len(axes)
    # Paths of metadata stay below their group.
    paths = names.filter(lambda path: not re.search(r"[\0:%\\/]|\.\.|[\ud800-\udfff]", path))
    numbers = st.tuples(st.tuples(*[positive] * n), st.tuples(*[finite] * n), paths)
    return Multiscale(
        version=draw(st.sampled_from(VERSIONS)),
        name=draw(st.none() | names),
        axes=axes,
        datasets=tuple(
            Dataset(path=path, voxel_size=size, translation=shift)
            for size, shift, path in draw(st.lists(numbers, min_size=1, max_size=3))
        ),
        kind=draw(st.none() | names),
        is_label=draw(st.booleans()),
    )


def written(image: Multiscale, **more: Any) -> dict[str, Any]:
    return multiscale_attributes(
        **{
            "version": image.version,
            "axes": image.axes,
            "levels": image.datasets,
            "name": image.name,
            "kind": image.kind,
            "is_label": image.is_label,
            **more,
        }
    )


@given(images())
def test_what_is_written_reads_back_exactly_through_json(image: Multiscale) -> None:
    assert describe(json.loads(json.dumps(written(image), allow_nan=False))) == image


@given(images(), st.permutations(VERSIONS))
def test_versions_convert_into_each_other_without_loss(image: Multiscale, path: list[str]) -> None:
    attributes = written(image)
    for version in path:
        attributes = written(image, version=version, source=attributes, is_label=None)
    assert attributes == written(image, version=path[-1])


@given(images(), st.data())
def test_composition_maps_indices_as_the_two_transformations_in_turn(
    image: Multiscale, data: st.DataObject
) -> None:
    n = len(image.axes)
    small = st.tuples(*[st.floats(-1e3, 1e3)] * n)
    sizes = st.tuples(*[st.floats(1e-3, 1e3)] * n)
    s_ds, t_ds, s_ms, t_ms = (data.draw(s) for s in (sizes, small, sizes, small))
    attributes = group(
        scale(*s_ds),
        translation(*t_ds),
        axes=axis_entries(image.axes),
        coordinateTransformations=[scale(*s_ms), translation(*t_ms)],
    )
    dataset = image_of(attributes).datasets[0]
    for i, index in itertools.product(range(n), (0, 1, 1000)):
        by_hand = s_ms[i] * (s_ds[i] * index + t_ds[i]) + t_ms[i]
        composed = dataset.voxel_size[i] * index + dataset.translation[i]
        assert math.isclose(composed, by_hand, rel_tol=1e-12, abs_tol=1e-6)


@given(images())
def test_describing_and_writing_leave_their_arguments_alone(image: Multiscale) -> None:
    source = written(image, source={"mine": [1, {"a": 2}]})
    before = copy.deepcopy(source)
    result = written(image, source=source)
    result["mine"][1]["a"] = 3
    describe(source)
    assert source == before


# --- reading: what is accepted -----------------------------------------------


def test_version_0_5_is_read_under_ome() -> None:
    image = image_of({"ome": {"version": "0.5", "multiscales": [entry(scale(3, 2, 1))]}})
    assert (image.version, image.datasets[0].voxel_size) == ("0.5", (3.0, 2.0, 1.0))
    assert image.datasets[0].translation == (0.0, 0.0, 0.0)


def test_ome_wins_over_old_metadata_beside_it() -> None:
    both = group(scale(9, 9, 9)) | {
        "ome": {"version": "0.5", "multiscales": [entry(scale(3, 2, 1))]}
    }
    assert image_of(both).datasets[0].voxel_size == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("common", [None, [], [{"type": "identity"}]])
def test_a_multiscales_level_without_content_changes_nothing(common: Any) -> None:
    attributes = group(scale(3, 2, 1), translation(5, 6, 7), coordinateTransformations=common)
    dataset = image_of(attributes).datasets[0]
    assert dataset == Dataset(path="s0", voxel_size=(3.0, 2.0, 1.0), translation=(5.0, 6.0, 7.0))


def test_a_translation_of_the_whole_image_alone_is_understood() -> None:
    attributes = group(scale(3, 2, 1), coordinateTransformations=[translation(1, 2, 3)])
    assert image_of(attributes).datasets[0].translation == (1.0, 2.0, 3.0)


def test_identity_between_the_others_is_passed_over() -> None:
    dataset = image_of(group({"type": "identity"}, scale(3, 2, 1))).datasets[0]
    assert dataset.voxel_size == (3.0, 2.0, 1.0)


def test_missing_axis_types_follow_from_the_names() -> None:
    axes = [{"name": n} for n in "TCzyx"]
    kinds = [a.kind for a in image_of(group(scale(1, 1, 1, 1, 1), axes=axes)).axes]
    assert kinds == ["time", "channel", "space", "space", "space"]


def test_beside_three_spatial_axes_an_axis_without_a_type_is_a_custom_one() -> None:
    axes = [{"name": "angle", "type": None}, *({"name": n} for n in "zyx")]
    assert image_of(group(scale(1, 1, 1, 1), axes=axes)).axes[0].kind == "custom"


@pytest.mark.parametrize("unit", ["micron", "pixel", "µm", "parsecs"])
def test_units_stay_as_spelled(unit: str) -> None:
    axes = [{"name": n, "type": "space", "unit": unit} for n in "yx"]
    assert {a.unit for a in image_of(group(scale(1, 1), axes=axes)).axes} == {unit}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("0.4", "0.4"), (0.4, "0.4"), (None, "0.4"), ("0.5-dev1", "0.5-dev1")],
)
def test_the_version_at_the_top_level(stated: Any, expected: str) -> None:
    assert image_of(group(scale(1, 1, 1), version=stated)).version == expected


def test_a_foreign_version_attribute_is_not_mistaken_for_that_of_ngff() -> None:
    assert image_of(group(scale(1, 1, 1), version=None) | {"version": "2.1"}).version == "0.4"


def test_none_of_several_images_is_silently_taken() -> None:
    attributes = {"multiscales": [entry(GOOD, name="raw"), entry(GOOD, name="fused")]}
    with pytest.raises(MultipleImagesError, match=r"raw.*fused.*group of its own"):
        describe(attributes)
    with pytest.raises(MultipleImagesError, match=r"raw.*fused"):
        make("0.4", source=attributes)
    assert "2 multiscale images" in validate(attributes, [(2, 2, 2)])[0]


SYSTEMS = [
    {"name": "world", "axes": [{"name": "b", "type": "space"}, {"name": "a", "type": "space"}]},
    {"name": "intrinsic", "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]},
]


def draft(transform: dict[str, Any], systems: Any = None, **more: Any) -> dict[str, Any]:
    transform = {"input": {"path": "s0"}, "output": {"name": "intrinsic"}, **transform}
    image = {
        "coordinateSystems": SYSTEMS if systems is None else systems,
        "datasets": [{"path": "s0", "coordinateTransformations": [transform]}],
        **more,
    }
    return {"ome": {"version": "0.6.dev4", "multiscales": [image]}}


@pytest.mark.parametrize(
    ("transform", "size", "shift"),
    [
        (scale(3, 2), (3.0, 2.0), (0.0, 0.0)),
        ({"type": "identity"}, (1.0, 1.0), (0.0, 0.0)),
        (
            {"type": "sequence", "transformations": [scale(3, 2), translation(5, 6)]},
            (3.0, 2.0),
            (5.0, 6.0),
        ),
        (scale(3, 2) | {"output": "intrinsic"}, (3.0, 2.0), (0.0, 0.0)),
    ],
)
def test_the_intrinsic_system_of_0_6_is_read(transform: Any, size: Any, shift: Any) -> None:
    leads_on = scale(10, 10) | {"input": {"name": "intrinsic"}, "output": {"name": "world"}}
    image = image_of(draft(transform, coordinateTransformations=[leads_on]))
    assert "".join(a.name for a in image.axes) == "yx"
    assert image.datasets[0] == Dataset(path="s0", voxel_size=size, translation=shift)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (draft({"type": "affine", "path": "m"}), "s0.*'affine'"),
        (draft({"type": "rotation", "rotation": []}), "s0.*'rotation'"),
        (draft(scale(3, 2) | {"output": {"name": "nowhere"}}), "nowhere.*world"),
        (draft(scale(3, 2), systems=[]), "coordinateSystems"),
        (draft(scale(3, 2), systems=[{"name": "intrinsic"}]), "'axes'"),
        (
            draft(
                scale(1, 1),
                [{"name": "intrinsic", "axes": [{"name": n, "type": "array"} for n in "yx"]}],
            ),
            "'y'.*'array'",
        ),
    ],
)
def test_what_0_6_says_beyond_scale_and_translation_is_refused(attributes: Any, words: str) -> None:
    with pytest.raises(MetadataError, match=words):
        describe(attributes)


def test_0_6_wants_one_transformation_per_dataset() -> None:
    attributes = draft(scale(3, 2))
    dataset = attributes["ome"]["multiscales"][0]["datasets"][0]
    dataset["coordinateTransformations"] *= 2
    with pytest.raises(MetadataError, match="'s0' has 2 transformations"):
        describe(attributes)


# --- reading: collections ----------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "kind", "paths"),
    [
        ({"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}, "plate", ("A/1", "B/2")),
        ({"well": {"images": [{"path": "0"}, {"path": "0_mip"}]}}, "well", ("0", "0_mip")),
        ({"labels": ["nuclei", "cells"]}, "labels", ("nuclei", "cells")),
        ({"labels": []}, "labels", ()),
        ({"bioformats2raw.layout": 3}, "bioformats2raw", ()),
        ({"series": ["0", "A/1/0"]}, "series", ("0", "A/1/0")),
        ({"bioformats2raw.layout": 3, "plate": {"wells": [{"path": "A/1"}]}}, "plate", ("A/1",)),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_collections_list_what_they_hold(
    attributes: Any, kind: str, paths: Any, nested: bool
) -> None:
    found = describe({"ome": {"version": "0.5", **attributes}} if nested else attributes)
    assert found == Collection(kind=kind, paths=paths)


def test_an_image_inside_a_bioformats2raw_layout_is_an_image() -> None:
    image_of(group(scale(1, 1, 1)) | {"bioformats2raw.layout": 3})


@pytest.mark.parametrize(
    "attributes",
    [
        {"plate": {"wells": None}},
        {"plate": []},
        {"well": {"images": [{}]}},
        {"labels": {"a": 1}},
        {"labels": [1]},
        {"series": "0"},
    ],
)
def test_collections_that_list_no_paths_are_refused(attributes: Any) -> None:
    with pytest.raises(MetadataError, match="must list paths"):
        describe(attributes)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "empty"),
        ({"_ARRAY_DIMENSIONS": ["y", "x"]}, "_ARRAY_DIMENSIONS"),
        ({"ome": {"version": "0.5"}}, "'ome' holds.*version"),
        ({"image-label": {"version": "0.4"}}, "'image-label' alone"),
        ({"ome": None, "axes": []}, "axes"),
    ],
)
def test_no_image_says_what_is_there(attributes: Any, words: str) -> None:
    with pytest.raises(NotAnImageError, match=words):
        describe(attributes)


# --- reading: what is refused ------------------------------------------------

GOOD = scale(3, 2, 1)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (group(translation(1, 2, 3), GOOD), "'s0'.*translation before its scale"),
        (group(GOOD, GOOD), "'s0' has two scales"),
        (group(GOOD, translation(1, 2, 3), translation(1, 2, 3)), "'s0' has two translations"),
        (group({"type": "affine", "affine": []}), "'s0'.*type 'affine'.*resample"),
        (group({"type": "sequence"}), "type 'sequence'"),
        (group({"scale": [1, 1, 1]}), "type None"),
        (group("scale"), "type None"),
        (group(GOOD, coordinateTransformations={}), "must be a list"),
        (group(GOOD, coordinateTransformations=[GOOD, GOOD]), "as a whole has two scales"),
        (group(GOOD, version="0.7"), "'0.7'.*0.1 to 0.6"),
        (group(GOOD, version="0.15"), "'0.15'"),
        (group(GOOD, version="1.0"), "'1.0'"),
        (group(GOOD, datasets=[]), "'datasets'"),
        (group(GOOD, datasets=None), "'datasets'"),
        (group(GOOD, datasets=[{"path": ""}]), "dataset number 0"),
        (group(GOOD, datasets=["0"]), "dataset number 0"),
        ({"multiscales": []}, "'multiscales'"),
        ({"multiscales": {}}, "'multiscales'"),
        ({"multiscales": [None]}, "'multiscales'"),
    ],
)
def test_structure_that_cannot_be_understood_is_refused(attributes: Any, words: str) -> None:
    with pytest.raises(MetadataError, match=words):
        describe(attributes)


def typed(*pairs: tuple[str, str | None]) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name, kind in pairs]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (None, "'axes'.*0.4 needs a list"),
        ({}, "'axes'"),
        ("x", "1 axes"),
        ("tczyxw", "6 axes"),
        ([], "0 axes"),
        ("yxy", "'y' is listed twice"),
        ("tcx", r"1 of the axes.*\['x'\].*2 or 3"),
        (typed(*((n, "space") for n in "wzyx")), "4 of the axes"),
        ("zyxc", "'c'.*comes after axis 'x'.*transpose"),
        ("ctyx", "'t'.*comes after axis 'c'"),
        (typed(("t", "time"), ("u", "time"), ("y", "space"), ("x", "space")), "'t', 'u'.*one"),
        (typed(("c", "channel"), ("a", "angle"), ("y", "space"), ("x", "space")), "'c', 'a'.*one"),
        (
            typed(("depth", None), ("y", None), ("line", None)),
            "1 of the axes.*correct the axis types",
        ),
        ([{"type": "space"}, {"name": "x"}], "axis number 0"),
        ([7, {"name": "x"}], "axis number 0"),
        ([{"name": "y", "type": 1}, {"name": "x"}], "type of axis 'y'"),
        ([{"name": "y", "unit": {}}, {"name": "x"}], "unit of axis 'y'"),
    ],
)
def test_axes_that_break_the_rules_are_refused(axes: Any, words: str) -> None:
    with pytest.raises(MetadataError, match=words):
        describe(group(axes=axes))


# --- the grid, and overriding the voxel size ---------------------------------


def test_the_grid_of_a_level() -> None:
    image = image_of(group(scale(1, 3, 2, 1), translation(0, 5, 6, 7), axes="czyx"))
    grid = grid_of(image, 0, (2, 10, 20, 30))
    assert grid == VoxelGrid(
        axes=image.axes,
        shape=(2, 10, 20, 30),
        voxel_size=(1.0, 3.0, 2.0, 1.0),
        translation=(0.0, 5.0, 6.0, 7.0),
    )


def test_an_array_of_other_dimensions_than_the_axes_is_refused() -> None:
    with pytest.raises(MetadataError, match=r"'s0' has 2 dimensions, \(4, 4\).*3 axes"):
        grid_of(image_of(group(GOOD)), 0, (4, 4))


@pytest.mark.parametrize("level", [1, -1])
def test_a_level_that_does_not_exist_is_refused(level: int) -> None:
    with pytest.raises(OptionError, match=f"no level {level}.*'s0'"):
        grid_of(image_of(group(GOOD)), level, (4, 4, 4))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (group(scale(1, 2)), r"'s0' has 2 values, \[1, 2\].*\['z', 'y', 'x'\].*one value per axis"),
        (group(GOOD, translation(1, 2, 3, 4)), "translation of dataset 's0' has 4 values"),
        (group({"type": "scale", "path": "m.bin"}), "'s0'.*file 'm.bin'.*write them into"),
        (group(GOOD, {"type": "translation", "translation": "t.bin"}), "file 't.bin'"),
        (group({"type": "scale"}), "scale of dataset 's0' is None.*list of numbers"),
        (group(scale(1, "2", 3)), "axis 'y' is '2'.*number"),
        (group(scale(1, True, 3)), "axis 'y' is True"),
        (group(GOOD, coordinateTransformations=[scale(1)]), "entry as a whole has 1 values"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_unless_all_are_overridden(
    attributes: Any, words: str
) -> None:
    image = image_of(attributes)
    with pytest.raises(MetadataError, match=f"{words}.*source_voxel_size={{'z'.*'y'.*'x'"):
        grid_of(image, 0, (4, 4, 4))
    grid = grid_of(image, 0, (4, 4, 4), {"z": 3, "y": 2, "x": 1})
    assert (grid.voxel_size, grid.translation) == ((3.0, 2.0, 1.0), (0.0, 0.0, 0.0))
    (notice,) = metadata_notices(attributes, image, {"z": 3, "y": 2, "x": 1})[:1]
    assert notice.kind == "metadata"
    assert re.search(words, notice.text)


@pytest.mark.parametrize("bad", [0, NAN, INF, None, pytest.param(10**400, id="huge")])
def test_an_unusable_scale_is_refused_unless_overridden(bad: Any) -> None:
    image = image_of(group(scale(bad, 2, 1), translation(5, 6, 7)))
    with pytest.raises(MetadataError, match=r"'s0'.*'z'.*source_voxel_size=\{'z': \.\.\.\}"):
        grid_of(image, 0, (4, 4, 4))
    grid = grid_of(image, 0, (4, 4, 4), {"z": 3})
    assert (grid.voxel_size, grid.translation) == ((3.0, 2.0, 1.0), (5.0, 6.0, 7.0))


@pytest.mark.parametrize("bad", [0, NAN, INF])
def test_an_unusable_scale_of_the_whole_image_can_be_overridden_too(bad: float) -> None:
    attributes = group(GOOD, translation(5, 6, 7), coordinateTransformations=[scale(bad, 1, 1)])
    with pytest.raises(MetadataError, match="'z'"):
        grid_of(image_of(attributes), 0, (4, 4, 4))
    assert grid_of(image_of(attributes), 0, (4, 4, 4), {"z": 3}).voxel_size == (3.0, 2.0, 1.0)


def test_a_translation_that_is_not_finite_is_refused() -> None:
    image = image_of(group(GOOD, translation(0, NAN, 0)))
    with pytest.raises(MetadataError, match="translation of dataset 's0' along axis 'y' is nan"):
        grid_of(image, 0, (4, 4, 4))
    assert grid_of(image, 0, (4, 4, 4), {"y": 1.0}).translation == (0.0, 0.0, 0.0)


OLD = [
    {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]},
    {"multiscales": [{"version": "0.2", "datasets": [{"path": "0"}]}]},
    {"multiscales": [{"datasets": [{"path": "0"}]}]},
    {"multiscales": [{"version": "0.3", "axes": list("tczyx"), "datasets": [{"path": "0"}]}]},
    {"multiscales": [{"axes": list("tczyx"), "datasets": [{"path": "0"}]}]},
    group(axes="tczyx"),
    group({"type": "identity"}, axes="tczyx"),
    group(translation(0, 0, 0, 0, 0), axes="tczyx"),
    group(axes="tczyx", coordinateTransformations=[scale(1, 1, 2, 2, 2)]),
]


@pytest.mark.parametrize("attributes", OLD)
def test_metadata_without_a_scale_needs_all_spatial_voxel_sizes(attributes: Any) -> None:
    image, shape = image_of(attributes), (1, 2, 3, 4, 5)
    assert "".join(a.name for a in image.axes) == "tczyx"
    with pytest.raises(MetadataError, match=r"missing.*source_voxel_size=.*'z'.*'y'.*'x'"):
        grid_of(image, 0, shape)
    with pytest.raises(MetadataError, match=r"missing.*\{'y': \.\.\., 'x': \.\.\.\}"):
        grid_of(image, 0, shape, {"z": 2.0})
    grid = grid_of(image, 0, shape, {"z": 2.0, "y": 0.5, "x": 0.25})
    assert grid.voxel_size == (1.0, 1.0, 2.0, 0.5, 0.25)


def test_axes_are_required_from_0_3_on() -> None:
    with pytest.raises(MetadataError, match=r"0\.3 needs"):
        describe({"multiscales": [{"version": "0.3", "datasets": [{"path": "0"}]}]})


def test_an_override_goes_before_a_usable_scale_and_for_any_axis() -> None:
    image = image_of(group(scale(0, 3, 2, 1), axes="tzyx"))
    grid = grid_of(image, 0, (4, 4, 4, 4), {"t": 0.1, "x": 7})
    assert grid.voxel_size == (0.1, 3.0, 2.0, 7.0)


@pytest.mark.parametrize("given_size", [{"w": 1.0}, {"z": 0.0}, {"z": -1.0}, {"z": NAN}])
def test_an_override_that_makes_no_sense_is_refused(given_size: Any) -> None:
    with pytest.raises(OptionError, match=f"'{next(iter(given_size))}'"):
        grid_of(image_of(group(GOOD)), 0, (4, 4, 4), given_size)


# --- writing -----------------------------------------------------------------

OMERO = {"version": "0.4", "channels": [{"label": "DAPI", "color": 255}], "rdefs": {"defaultZ": 7}}
LABEL = {"version": "0.4", "colors": [{"label-value": 1, "rgba": [1, 2, 3, 4]}]}


def full_source(version: str) -> dict[str, Any]:
    """Return attributes with all that should survive ("keep...") and all that should not."""
    axes = [{"name": n, "type": "space", "unit": "pixel", "keep_axis": n} for n in "zyx"]
    more = {"name": "old", "type": "old", "metadata": {"old": 1}, "keep_entry": {"a": [1]}}
    image = entry(GOOD, axes=axes, coordinateTransformations=[scale(9, 9, 9)], **more)
    ngff = {
        "multiscales": [image],
        "omero": OMERO,
        "image-label": LABEL,
        "bioformats2raw.layout": 3,
        "labels": ["old"],
        "plate": {"wells": []},
        "well": {"images": []},
        "series": ["0"],
        "keep_inner": [1, 2],
    }
    outer = {"keep_outer": {"b": None}, "_ARRAY_DIMENSIONS": ["z", "y", "x"]}
    if version == "0.4":
        image["version"] = "0.4"
        return {**ngff, **outer, "version": "0.4"}
    return {"ome": {"version": version, **ngff}, **outer}


def make(version: str, **more: Any) -> dict[str, Any]:
    return multiscale_attributes(
        **{
            "version": version,
            "axes": ZYX,
            "levels": LEVELS,
            "name": "new",
            "kind": "mean",
            "metadata": METADATA,
            **more,
        }
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("origin", VERSIONS)
def test_what_survives_and_what_does_not(origin: str, version: str) -> None:
    source = full_source(origin)
    result = make(version, source=source)
    ngff = result if version == "0.4" else result["ome"]
    outer = {"keep_outer"} | ({"keep_inner"} if (origin, version) != ("0.5", "0.5") else set())
    inner = {"multiscales", "omero", "image-label"}
    if version == "0.4":
        assert set(result) == outer | inner
    else:
        assert set(result) == outer | {"ome"}
        kept = {"keep_inner"} if origin == "0.5" else set()
        assert set(ngff) == inner | kept | {"version"}
        assert ngff["version"] == "0.5"
    assert result["keep_outer"] == {"b": None}
    assert ngff["omero"] == OMERO
    assert ngff["image-label"] == LABEL | {"version": version}
    (image,) = ngff["multiscales"]
    assert image.pop("keep_entry") == {"a": [1]}
    assert [axis.pop("keep_axis") for axis in image["axes"]] == ["z", "y", "x"]
    assert image.pop("version", None) == ("0.4" if version == "0.4" else None)
    assert image == {
        "name": "new",
        "type": "mean",
        "metadata": METADATA,
        "axes": axis_entries(ZYX),
        "datasets": dataset_entries(LEVELS),
    }


def test_axis_keys_of_0_6_survive() -> None:
    systems = copy.deepcopy(SYSTEMS)
    systems[1]["axes"][0]["longName"] = "row"  # type: ignore[index]
    level = Dataset(path="0", voxel_size=(1.0, 1.0), translation=(0.0, 0.0))
    result = make("0.5", axes=ZYX[1:], levels=[level], source=draft(scale(3, 2), systems))
    assert [a.get("longName") for a in result["ome"]["multiscales"][0]["axes"]] == ["row", None]
    assert "coordinateSystems" not in result["ome"]["multiscales"][0]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_dataset_has_a_scale_and_then_a_translation_as_floats(version: str) -> None:
    level = Dataset(path="0", voxel_size=(1, 1, 1), translation=(0, 0, 0))
    text = json.dumps(make(version, levels=[level]))
    assert text.count('{"type": "scale", "scale": [1.0, 1.0, 1.0]}') == 1
    assert '[1.0, 1.0, 1.0]}, {"type": "translation", "translation": [0.0, 0.0, 0.0]}]' in text


def test_a_label_image_stays_one_unless_told_otherwise() -> None:
    source = full_source("0.4")
    assert image_of(make("0.5", source=source)).is_label
    assert not image_of(make("0.5", source=source, is_label=False)).is_label
    assert make("0.5", is_label=True)["ome"]["image-label"] == {"version": "0.5"}
    assert not image_of(make("0.5")).is_label


def test_the_path_from_labels_to_their_image_is_left_behind() -> None:
    """It counts from where the source lies."""
    source = copy.deepcopy(full_source("0.4"))
    source["image-label"] = LABEL | {"source": {"image": "../../"}}
    assert make("0.5", source=source)["ome"]["image-label"] == LABEL | {"version": "0.5"}


def test_attributes_of_a_source_that_is_no_ngff_image_survive() -> None:
    assert make("0.5", source={"mine": 1, "version": "2.1"}).keys() == {"mine", "version", "ome"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
free_keys = st.sampled_from(
    ["image-label", "omero", "name", "metadata", "type", "version", "ome", "mine", "axes", "labels"]
)
anything = st.dictionaries(free_keys, json_values, max_size=4)


@given(st.data(), st.sampled_from(["0.4", "0.5", "0.6"]), st.sampled_from(VERSIONS))
def test_whatever_is_accepted_can_be_carried_over(
    data: st.DataObject, origin: str, version: str
) -> None:
    """Any JSON beside the geometry is refused by `describe`, or else the output is valid."""
    if origin == "0.6":
        source = draft(scale(3, 2), copy.deepcopy(SYSTEMS))
        axes = source["ome"]["multiscales"][0]["coordinateSystems"][1]["axes"]
    else:
        source = full_source(origin)
        axes = source.get("ome", source)["multiscales"][0]["axes"]
    ngff = source.get("ome", source)
    image = ngff["multiscales"][0]
    places = [source, ngff, image, axes[0], *image.get("coordinateSystems", ())]
    for place in places:
        geometry = {key: place[key] for key in ("axes", "ome") if key in place}
        place.update(data.draw(anything) | geometry)
    try:
        found = image_of(source)
    except MetadataError:
        return
    levels = [Dataset(path="0", voxel_size=(1.0,) * len(axes), translation=(0.0,) * len(axes))]
    more = {"axes": found.axes, "levels": levels, "name": found.name, "source": source}
    for is_label in (None, found.is_label):
        result = make(version, **more, is_label=is_label)
        assert validate(result, [(2,) * len(axes)]) == []
        assert image_of(result).is_label == found.is_label
        label = result.get("ome", result).get("image-label", {"version": version})
        assert label["version"] == version


@pytest.mark.parametrize("label", [True, "nuclei", ["a", "b"], None, 3, []])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("origin", VERSIONS)
def test_a_label_mark_without_content_is_no_more_than_a_mark(
    origin: str, version: str, label: Any
) -> None:
    """Some writers put a flag there, or names; the output is a valid label image."""
    source = full_source(origin)
    source.get("ome", source)["image-label"] = label
    result = make(version, source=source)
    assert result.get("ome", result)["image-label"] == {"version": version}


@pytest.mark.parametrize("stated", [None, "draft", 1])
def test_the_version_of_an_output_is_its_own(stated: Any) -> None:
    """What else lies in the source's "ome" does not replace it."""
    beside = group(GOOD) | {"ome": {"version": stated, "mine": 1}}
    assert make("0.5", source=beside)["ome"]["version"] == "0.5"


def test_coordinate_systems_have_names_or_are_refused() -> None:
    """A name may be any JSON value, of which only texts are names."""
    systems = [{**SYSTEMS[1], "name": ["intrinsic"]}, {**SYSTEMS[0], "name": {}}]
    with pytest.raises(MetadataError, match=r"lead to the coordinate systems \['intrinsic'\]"):
        describe(draft(scale(3, 2), systems))


@pytest.mark.parametrize("version", ["0.3", "0.9", "1"])
def test_other_versions_are_not_written(version: str) -> None:
    with pytest.raises(OptionError, match=f"'{version}'.*0.4.*0.5"):
        make(version)


@pytest.mark.parametrize(
    "wrong",
    [
        {"axes": ZYX[:1]},
        {"axes": (*ZYX, C)},
        {"levels": ()},
        {"levels": [Dataset(path="0", voxel_size=(0.0, 1.0, 1.0), translation=(0.0,) * 3)]},
        {"levels": [Dataset(path="0", voxel_size=(1.0,) * 3, translation=(NAN, 0.0, 0.0))]},
        {"levels": [Dataset(path="0", voxel_size=(1.0,) * 2, translation=(0.0, 0.0))]},
    ],
)
def test_nothing_is_written_that_would_not_be_read(wrong: Any) -> None:
    with pytest.raises(MetadataError):
        make("0.5", **wrong)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_composed_document_is_completed(version: str) -> None:
    bare = make(version, name="/", kind=None, metadata=None)
    result = complete_attributes(bare, name="new", kind="mean", metadata=METADATA)
    assert result == make(version)


def test_other_versions_are_not_completed() -> None:
    with pytest.raises(OptionError, match=r"'0\.6\.dev4'"):
        complete_attributes(draft(scale(1, 1)))


# --- writing: what others say ------------------------------------------------

NICE_OMERO = {
    "channels": [
        {"color": "00FF00", "window": {"min": 0, "max": 9, "start": 1, "end": 8}, "label": "a"}
    ]
}
CASES = {
    "3d": (ZYX, LEVELS),
    "2d": (
        ZYX[1:],
        (Dataset(path="s0", voxel_size=(0.5, 1e-12), translation=(0.0, -1.0)),),
    ),
    "5d": (
        (T, C, *ZYX),
        (Dataset(path="0", voxel_size=(0.1, 1, 3, 2, 1), translation=(0.0,) * 5),),
    ),
    "custom": (
        (Axis(name="a", kind="angle"), *ZYX),
        (Dataset(path="0", voxel_size=(1.0, 3, 2, 1), translation=(0.0,) * 4),),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_is_what_ome_zarr_writes(version: str, case: str) -> None:
    pytest.importorskip("ome_zarr", exc_type=ImportError)
    axes, levels = CASES[case]
    composed = compose_multiscales(
        version=version, axes=axis_entries(axes), datasets=dataset_entries(levels)
    )
    options: dict[str, Any] = {"kind": "mean", "metadata": METADATA, "source": full_source(version)}
    result = complete_attributes(composed, name="new", **options)
    assert result == make(version, axes=axes, levels=levels, **options)


@pytest.fixture(params=itertools.product(VERSIONS, VERSIONS, CASES), ids="-".join)
def document(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return a version and a label image of it, made from a source of either version."""
    version, origin, case = request.param
    axes, levels = CASES[case]
    source = full_source(origin)
    (source if origin == "0.4" else source["ome"])["omero"] = NICE_OMERO
    return version, make(version, axes=axes, levels=levels, source=source)


def test_ome_zarr_models_accepts(document: tuple[str, dict[str, Any]]) -> None:
    pytest.importorskip("ome_zarr_models", exc_type=ImportError)
    version, attributes = document
    module = f"ome_zarr_models.v{version.replace('.', '')}.image_label"
    attrs = importlib.import_module(module).ImageLabelAttrs
    parsed = attrs.model_validate(attributes if version == "0.4" else attributes["ome"])
    level = parsed.multiscales[0].datasets[0]
    expected = image_of(attributes).datasets[0]
    assert tuple(level.coordinateTransformations[0].scale) == expected.voxel_size
    assert tuple(level.coordinateTransformations[1].translation) == expected.translation


def test_yaozarrs_accepts(document: tuple[str, dict[str, Any]]) -> None:
    yaozarrs = pytest.importorskip("yaozarrs", exc_type=ImportError)
    version, attributes = document
    if version == "0.5":
        attributes = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    parsed = yaozarrs.validate_ome_json(json.dumps(attributes))
    text = parsed.model_dump_json()
    assert '"multiscales"' in text
    assert '"image-label"' in text


@pytest.mark.parametrize("schema", ["strict_image", "strict_label"])
def test_the_strict_schemas_accept(document: tuple[str, dict[str, Any]], schema: str) -> None:
    version, attributes = document
    assert schema_faults(json.loads(json.dumps(attributes)), version, schema) == []


# --- validate ----------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_has_no_faults(version: str) -> None:
    assert validate(make(version), SHAPES, strict_geometry=True) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, s: d[1]["coordinateTransformations"].pop(), r"'1' are \['scale'\]"),
        (lambda d, s: d[2]["coordinateTransformations"][0]["scale"].__setitem__(1, 1.5),
         "dataset '2', axis 'y': the voxel size 1.5 is 1.5 times.*before, 1.0.*1 or 2"),
        (lambda d, s: d[1]["coordinateTransformations"][0]["scale"].__setitem__(0, 1.0),
         "axis 'z': the voxel size 1.0 is 0.5 times"),
        (lambda d, s: d[1]["coordinateTransformations"][1]["translation"].__setitem__(2, 0.125),
         "dataset '1', axis 'x': the translation is 0.125; .*0.25"),
        (lambda d, s: s.__setitem__(1, (2, 5, 8)), "'1', axis 'z': 2 voxels; 5 voxels .* make 3"),
    ],
)  # fmt: skip
def test_faults_of_geometry_are_found_only_when_strict(change: Any, words: str) -> None:
    attributes, shapes = make("0.4"), list(SHAPES)
    change(attributes["multiscales"][0]["datasets"], shapes)
    assert validate(attributes, shapes) == []
    faults = validate(attributes, shapes, strict_geometry=True)
    assert any(re.search(words, fault) for fault in faults), faults


def test_axes_that_are_not_resampled_stay_as_they_are_at_every_level() -> None:
    levels = [
        Dataset(path=str(k), voxel_size=(1.0 + k, 1.0, 1.0), translation=(k / 2, 0.0, 0.0))
        for k in range(2)
    ]
    attributes = make("0.4", axes=(C, *ZYX[1:]), levels=levels)
    (fault,) = validate(attributes, [(4, 8, 8), (2, 8, 8)], strict_geometry=True)
    assert re.search("axis 'c'.*must be 1 times", fault)


@pytest.mark.parametrize(
    ("attributes", "shapes", "words"),
    [
        ({}, [], "no OME-Zarr image"),
        ({"well": {"images": []}}, [], r"collection \(well\)"),
        (group(GOOD, GOOD), [(4, 4, 4)], "two scales"),
        (group(scale(0, 1, 1)), [(4, 4, 4)], "'z' is 0.0"),
        (group(), [(4, 4, 4)], "'s0' have no scale"),
        (group(GOOD), [(4, 4)], "2 dimensions"),
        (group(GOOD), [(4, 4, 0)], "axis 'x' has 0 voxels"),
        (group(GOOD), [], "1 datasets, but there are 0"),
        (group(GOOD, coordinateTransformations=[]), [(4, 4, 4)], "as a whole have no scale"),
        (group(GOOD, coordinateTransformations=[{"type": "identity"}]), [(4, 4, 4)], "identity"),
        (group(GOOD, axes=list("zyx")), [(4, 4, 4)], "axis 'z' is a string"),
        (group(GOOD, version="0.5"), [(4, 4, 4)], "inside the attribute 'ome'"),
        ({"ome": {"multiscales": [entry(GOOD)]}}, [(4, 4, 4)], "'ome' has no 'version'"),
    ],
)
def test_faults_against_ngff_are_always_found(attributes: Any, shapes: Any, words: str) -> None:
    faults = validate(attributes, shapes)
    assert any(re.search(words, fault) for fault in faults), faults


def test_levels_must_shrink_and_have_paths_of_their_own() -> None:
    levels = [LEVELS[0], LEVELS[0]]
    faults = validate(make("0.4", levels=levels), [(4, 4, 4), (4, 4, 5)])
    assert len(faults) == 2
    assert "listed 2 times" in faults[0]
    assert "instead of largest to smallest" in faults[1]


def test_levels_in_another_order_are_one_fault() -> None:
    """They are compared with one another from the largest."""
    attributes = make("0.4", levels=LEVELS[::-1])
    for strict in (False, True):
        (fault,) = validate(attributes, SHAPES[::-1], strict_geometry=strict)
        assert "instead of largest to smallest" in fault


def test_a_level_shrinks_along_every_axis() -> None:
    faults = validate(make("0.4", levels=LEVELS[:2]), [(8, 4, 4), (4, 8, 3)])
    assert any("is larger along an axis" in fault for fault in faults)


def test_a_level_without_voxels_is_a_fault() -> None:
    """No scale would agree with its shape."""
    image = describe(make("0.4", levels=LEVELS[:2]))
    assert isinstance(image, Multiscale)
    for fault in (found := list(extent_faults(image, [(4, 8, 8), (0, 0, 0)]))):
        assert "spans 0 voxels" in fault
        assert "would agree" not in fault
    assert found


# --- real files --------------------------------------------------------------


def json_of(path: Path) -> Any:
    """Read JSON with comments, as the examples of the specification have them."""
    return json.loads(re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE))


def groups_below(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(root.rglob(".zattrs")):
        if not (path.parent / ".zarray").exists():
            yield path.parent, json_of(path)
    for path in sorted(root.rglob("zarr.json")):
        node = json_of(path)
        if node["node_type"] == "group":
            yield path.parent, node.get("attributes", {})


def shape_at(path: Path) -> tuple[int, ...]:
    for name in (".zarray", "zarr.json"):
        if (path / name).exists():
            return tuple(json_of(path / name)["shape"])
    raise FileNotFoundError(path)


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not here")


@needs_data
@pytest.mark.parametrize(
    "path",
    # The examples of the versions that are written; the suites beside them have rules of their own.
    sorted(p for v in VERSIONS for p in (DATA / "spec_json" / v / "examples").rglob("[!.]*.json")),
    ids=lambda p: str(p.relative_to(DATA)),
)
def test_examples_of_the_specification(path: Path) -> None:
    attributes = json_of(path)
    attributes = attributes.get("attributes", attributes)
    if path.parent.name == "label_strict":
        with pytest.raises(NotAnImageError):
            describe(attributes)  # half an image: its multiscales are elsewhere
        target = attributes.get("ome", attributes)
        target["multiscales"] = [entry(GOOD)]
    found = describe(attributes)
    kind = path.parent.name.removesuffix("_strict")
    if kind in ("multiscales", "label"):
        assert isinstance(found, Multiscale)
        assert found.is_label == (kind == "label")
        assert validate(attributes, [(4,) * len(found.axes)] * len(found.datasets)) == []
    else:
        expected = {"ome": "series", "bf2raw": "bioformats2raw"}.get(kind, kind)
        if path.stem == "plate":
            expected = "plate"
        assert isinstance(found, Collection)
        assert found.kind == expected
        return
    assert found.version == path.relative_to(DATA / "spec_json").parts[0]


SPEC_SIZES = {
    "multiscales_transformations.json": [(10.0, 10.0)],
    "multiscales_example.json": [(0.1, 1.0, s, s, s) for s in (0.5, 1.0, 2.0)],
}


@needs_data
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SPEC_SIZES)
def test_geometry_of_the_examples(version: str, name: str) -> None:
    path = DATA / "spec_json" / version / "examples" / "multiscales_strict" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    attributes = json_of(path)
    image = image_of(attributes.get("attributes", attributes))
    assert [d.voxel_size for d in image.datasets] == SPEC_SIZES[name]


@needs_data
@pytest.mark.parametrize(
    "root",
    # Those of the specification have no arrays.
    sorted(p for p in DATA.glob("*") if p.is_dir() and p.name != "spec_json"),
    ids=lambda p: p.name,
)
def test_every_real_image_opens_with_its_geometry(root: Path) -> None:
    for path, attributes in groups_below(root):
        try:
            image = describe(attributes)
        except NotAnImageError:
            assert not {"multiscales", "plate", "well", "ome"} & set(attributes)
            continue
        if isinstance(image, Collection):
            for inner in image.paths if image.kind in ("plate", "well", "labels") else ():
                assert (path / inner).is_dir()
            continue
        shapes = [shape_at(path / d.path) for d in image.datasets]
        if image.version in ("0.1", "0.2"):
            with pytest.raises(MetadataError, match="voxel size"):
                grid_of(image, 0, shapes[0])
            grid_of(image, 0, shapes[0], {"z": 1, "y": 1, "x": 1})
            continue
        grids = [grid_of(image, k, shape) for k, shape in enumerate(shapes)]
        for k, dataset in enumerate(image.raw["datasets"]):
            stated = dataset["coordinateTransformations"]
            # None of these files has anything but ones at the multiscales level.
            assert list(grids[k].voxel_size) == stated[0]["scale"]
            shift = stated[1]["translation"] if len(stated) > 1 else [0.0] * len(image.axes)
            assert list(grids[k].translation) == shift
        for version in VERSIONS:
            copied = multiscale_attributes(
                version=version,
                axes=image.axes,
                levels=image.datasets,
                name=image.name,
                kind=image.kind,
                source=attributes,
            )
            again = image_of(copied)
            assert (again.axes, again.datasets, again.name, again.kind, again.is_label) == (
                image.axes, image.datasets, image.name, image.kind, image.is_label,
            )  # fmt: skip
            assert validate(copied, shapes) == []


@needs_data
@pytest.mark.parametrize(
    "case", sorted((DATA / "fiji_java").rglob("*_v4.ome.zarr")), ids=lambda p: p.name
)
def test_both_versions_of_one_image_give_one_geometry(case: Path) -> None:
    twin = case.with_name(case.name.replace("_v4", "_v5"))
    found = [image_of(dict(groups_below(p))[p]) for p in (case, twin)]
    assert found[0].axes == found[1].axes
    assert found[0].datasets == found[1].datasets
