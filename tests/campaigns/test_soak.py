"""A short form of the campaign, and that it would notice what is wrong."""

import numpy as np
import pytest
from campaigns import jobs, oracles, soak

import chunkscale


def test_random_jobs_are_right_to_the_voxel(tmp_path):
    """Level 0 by float64 arithmetic of its own, all else by plain NumPy; `make soak` does more."""
    numbers = [n for n in range(40) if jobs.job_of(2, n).killed is None][:8]
    campaign = soak.run(tmp_path, 2, numbers)
    assert campaign.found == []
    assert campaign.counts["right"] == 8, campaign.refusals


@pytest.mark.parametrize("method", jobs.METHODS)
def test_one_wrong_voxel_is_noticed(method):
    """By the arithmetic alone, without `check`."""
    data = np.random.default_rng(0).integers(0, 9, (5, 6), "uint16") * 100
    step = 2.0 if method in ("mode", "max", "area") else 0.5
    found = chunkscale.resample_array(data, zoom=1 / step, method=method)
    places = [(np.arange(n) + 0.5) * step - 0.5 for n in found.shape]

    def fault():
        if method == "nearest":
            return oracles.fault_of_nearest(found, data, places)
        steps, random = [step, step], np.random.default_rng(0)
        if method in oracles.TAKEN:
            return oracles.fault_of_cells(found, data, places, steps, method, random)
        return oracles.fault_of_mixed(found, oracles.mixed(data, places, steps, method, False))

    assert fault() is None
    found[0, 0] += 2
    assert fault()


def test_growth_is_noticed(tmp_path):
    """Of what a process holds since its first jobs."""
    campaign = soak.Soak(tmp_path, 0)
    assert campaign.grown() == []
    campaign.settled = soak.usage()
    assert campaign.grown() == []
    # What other tests have left open may be closed at any moment.
    campaign.settled["open files"] = -soak.MARGINS["open files"] - 1
    assert "open files" in campaign.grown()[0]
