"""Shared stores for the tests."""

import time
from pathlib import Path

import numpy as np
import pytest
from grids import grid_for
from hypothesis import HealthCheck, settings

from chunkscale.compute.gpu.find import why_unusable
from chunkscale.samples import write_image

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")


@pytest.fixture
def make_image(tmp_path):
    """Return a function that stores an array as an OME-Zarr image."""

    def make(data, voxel_size=None, *, name="source.ome.zarr", axes=None, unit="micrometer",
             translation=(), **options) -> Path:  # fmt: skip
        path = tmp_path / name
        write_image(
            path, np.asarray(data), grid_for(data.shape, voxel_size, axes, unit, translation),
            **options,
        )  # fmt: skip
        return path

    return make


@pytest.fixture
def noise():
    """Return a function that makes reproducible random data of any dtype."""

    def make(shape, dtype="uint16", seed=0):
        random = np.random.default_rng(seed)
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return random.integers(0, 2, shape).astype(bool)
        if dtype.kind == "f":
            return random.normal(0, 100, shape).astype(dtype)
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)

    return make


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "gpu",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(why_unusable() is not None, reason=str(why_unusable())),
            ],
        ),
    ]
)
def device(request):
    """Return where to compute: on the CPU, and on a GPU where there is one."""
    return request.param


@pytest.fixture
def small_regions(monkeypatch):
    """Let plans cut small images into many regions, as they cut large ones."""
    monkeypatch.setattr("chunkscale.plan.policy.LARGEST_REGION", 2**12)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Let regions whose store fails be tried again at once, as often as ever."""
    monkeypatch.setattr("chunkscale.run.worker.sleep", lambda seconds: time.sleep(0.001))
