"""What cost people hours: names that lie, sizes in another unit, structures that vanish."""

import dask.array as da
import numpy as np

import chunkscale


def test_a_rewritten_store_is_not_taken_from_a_cache(make_image, noise):
    """What was persisted keeps its voxels; a new array has those that are stored now."""
    data = noise((6, 20, 22))
    path = make_image(data, (2, 0.5, 0.5), chunk=(3, 10, 11))
    image = chunkscale.open_image(path)
    one, other = image.as_dask(), chunkscale.open_image(path).as_dask()
    assert len({one.name, other.name, image.as_dask().name}) == 3
    lazy = chunkscale.resample_array(one, zoom=2)
    assert chunkscale.resample_array(one, zoom=2).name == lazy.name
    assert chunkscale.resample_array(one, zoom=3).name != lazy.name
    assert chunkscale.resample_array(other, zoom=2).name != lazy.name
    np.testing.assert_array_equal(da.stack([one, other]).compute(), [data, data])
