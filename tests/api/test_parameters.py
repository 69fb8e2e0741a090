"""Parameters of the public functions: complete, typed, and refused by name where there are none."""

import inspect
import subprocess
import sys

import pytest

import chunkscale
from chunkscale.api.parameters import PlanParameters

#: Of `plan_resampling`, what `resample` has parameters of its own for.
OWN = {"source", "images", "destination", "resume", "client", "storage_options"}


def test_resample_takes_what_plan_resampling_takes():
    """One list of names: what can be planned can be done."""
    planned = set(inspect.signature(chunkscale.plan_resampling).parameters)
    assert set(PlanParameters.__annotations__) == planned - OWN


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("voxelsize", "did you mean 'voxel_size'"),
        ("antialais", "'antialias'"),
        ("qqq", "'qqq'"),
        ("source_axes", "did you mean 'axes'"),
    ],
)
def test_a_parameter_that_is_none_is_named_before_anything_is_written(given, words, tmp_path):
    """As Python does it, with the nearest one that there is."""
    with pytest.raises(TypeError, match=words):
        chunkscale.resample(tmp_path / "in.zarr", tmp_path / "out.zarr", **{given: 1})
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.slow
def test_type_checkers_know_every_parameter(tmp_path):
    """A name that is none and a value of another type are reported, and a right call is not."""
    pytest.importorskip("mypy")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "import chunkscale\n"
        "chunkscale.resample('a', 'b', voxel_size=0.5, method='cubic', memory='1GiB')\n"
        "chunkscale.resample('a', 'b', voxelsize=0.5)\n"
        "chunkscale.resample('a', 'b', antialias='yes')\n"
        "chunkscale.resample('a', 'b', method='quintic')\n"
    )
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", str(snippet)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    reported = [line.split(":")[1] for line in told.stdout.splitlines() if ": error:" in line]
    assert sorted(set(reported)) == ["3", "4", "5"], told.stdout
