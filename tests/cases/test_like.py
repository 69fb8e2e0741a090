"""Another image's grid as the target: it has to lie where the source lies."""

import warnings

import numpy as np
import pytest

import chunkscale
from chunkscale import Axis, VoxelGrid
from chunkscale.cli.main import main

STACK = np.arange(6 * 20 * 20, dtype="u2").reshape(6, 20, 20)


def zyx(shape, size, translation=(), unit="micrometer"):
    axes = tuple(Axis(name=name, unit=unit) for name in "zyx")
    return VoxelGrid(axes=axes, shape=shape, voxel_size=size, translation=translation)


@pytest.fixture
def stack(make_image):
    """Return an image from -1 to 11 and from -0.25 to 9.75 micrometer."""
    return make_image(STACK, (2, 0.5, 0.5))


def test_a_target_elsewhere_is_refused_with_both_extents(make_image, stack, tmp_path, capsys):
    """Before anything is written; a voxel size instead is a way on."""
    far = make_image(STACK, (2, 0.5, 0.5), name="far", translation=(5000, 5000, 0))
    out = tmp_path / "out"
    assert main(["resample", str(stack), str(out), "--like", str(far)]) == 2
    error = capsys.readouterr().err
    for part in (
        "along z, y:",
        "z -1 to 11,",
        "z 4999 to 5011, y 4999.75 to 5009.75",
        " µm",
    ):
        assert part in error
    assert "voxel size" in error
    assert not out.exists()
    assert main(["resample", str(stack), str(out), "--voxel-size", "2,0.5,0.5"]) == 0


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        ((12, 0, 0), True),  # begins where the source ends
        ((11.9, 0, 0), False),
        ((-12, 0, 0), True),
        ((0, 0, 10), True),
        ((0, 0, 9.9), False),
        ((0.1 * 3 + 11.7, 0, 0), True),  # touches, but for rounding
    ],
)
def test_grids_that_touch_do_not_overlap(stack, origin, refused):
    """Along one axis is enough."""
    like = zyx((6, 20, 20), (2, 0.5, 0.5), origin)
    if refused:
        with pytest.raises(chunkscale.GridError, match="do not overlap"):
            chunkscale.plan_resampling(stack, like=like)
    else:
        chunkscale.plan_resampling(stack, like=like)


def test_units_are_converted_before_grids_are_compared(stack):
    """What is far in micrometers is near in nanometers, and the text has the target's unit."""
    near = zyx((6, 20, 20), (2000, 500, 500), (5000, 0, 0), "nanometer")
    assert not chunkscale.plan_resampling(stack, like=near).warnings
    with pytest.raises(chunkscale.GridError, match=r"z -1000 to 11000.* nm, and the target"):
        chunkscale.plan_resampling(stack, like=near.replace(translation=(5e6, 0, 0)))


def test_little_in_common_is_a_warning(stack, tmp_path):
    """Less than a tenth of the target; a crop of the source, whatever its size, is none."""
    crop = zyx((1, 2, 2), (2, 0.5, 0.5), (4, 3, 3))
    assert not chunkscale.plan_resampling(stack, like=crop).warnings
    half = zyx((6, 20, 20), (2, 0.5, 0.5), (6, 0, 0))
    assert not chunkscale.plan_resampling(stack, like=half).warnings
    corner = zyx((6, 20, 20), (2, 0.5, 0.5), (6, 6, 6))
    with pytest.warns(chunkscale.ChunkscaleWarning, match="only 0.08 of the target .* -1 to 11"):
        chunkscale.resample(stack, tmp_path / "out", like=corner)


@pytest.mark.parametrize(("ours", "theirs"), [(None, "micrometer"), ("micrometer", None)])
def test_one_unit_missing_is_said(make_image, ours, theirs):
    """Both missing are the usual warning; numbers are taken as they are."""
    source = make_image(STACK, (2, 0.5, 0.5), unit=ours)
    plan = chunkscale.plan_resampling(source, like=zyx((6, 20, 20), (1, 1, 1), unit=theirs))
    assert [n.kind for n in plan.warnings] == ["unit"]
    assert f"z ({ours or 'none'} here, {theirs or 'none'} there)" in str(plan.warnings[0])


def test_arrays_are_held_to_the_same():
    """With a translation they can be moved there."""
    like = zyx((6, 20, 20), (2, 0.5, 0.5), (100, 0, 0))
    with pytest.raises(chunkscale.GridError, match="do not overlap along z"):
        chunkscale.resample_array(STACK, like=like, source_voxel_size=(2, 0.5, 0.5))
    with pytest.warns(chunkscale.ChunkscaleWarning, match="only 0.05"):
        chunkscale.resample_array(
            STACK, like=zyx((60, 40, 20), (2, 0.5, 0.5)), source_voxel_size=(2, 0.5, 0.5)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = chunkscale.resample_array(
            STACK,
            like=like,
            source_voxel_size=(2, 0.5, 0.5),
            source_translation=(100, 0, 0),
        )
    np.testing.assert_array_equal(same, STACK)
