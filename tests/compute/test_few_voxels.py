"""The first voxels of a process: NumPy makes them, with the bits of Numba's kernels."""

import numpy as np
import pytest

import chunkscale
from chunkscale.kernels.backend import get_backend


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("uint16", {"zoom": 2}),
        ("float32", {"voxel_size": 1.6, "antialias": True}),
    ],
)
def test_few_voxels_are_left_to_numpy(dtype, options, make_image, noise, tmp_path, monkeypatch):
    """The third run of a process is one too many, and its output is the same."""
    asked, made = [], []

    def backend(name):
        asked.append(name)
        return get_backend(name)

    source = make_image(noise((8, 9, 10), dtype), (1.0, 1.0, 1.0))
    plan = chunkscale.plan_resampling(source, device="cpu", **options)
    voxels = plan.voxels + plan.source_grid.size
    monkeypatch.setattr("chunkscale.compute.cpu.get_backend", backend)
    monkeypatch.setattr("chunkscale.compute.cpu._voxels", 0)
    monkeypatch.setattr("chunkscale.compute.cpu.FEW_VOXELS", 2 * voxels)
    for name in "abc":
        run = chunkscale.resample(source, tmp_path / name, device="cpu", **options)
        image = chunkscale.open_image(run.path)
        levels = range(len(plan.levels))
        made.append([np.asarray(image.as_dask(level=level)) for level in levels])
    assert asked == ["reference", "reference", "cpu"]
    for levels in made[1:]:
        for found, first in zip(levels, made[0], strict=True):
            np.testing.assert_array_equal(found, first)
