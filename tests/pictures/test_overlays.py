"""Labels over images, and channels of images beside one another.

Labels that do not state where their voxels are have those of the first image, if its shape.
"""

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale.api.images import open_source
from chunkscale.api.overlays import Over, overlays, warn_unlabelled
from chunkscale.api.subjects import subject_of
from chunkscale.samples import write_labels

MASK = (np.indices((4, 6, 8)).sum(0) % 3).astype("uint8")


@pytest.fixture
def image(make_image, noise):
    return open_source(make_image(noise((4, 6, 8)), (2.0, 0.5, 0.5)))


@pytest.mark.parametrize("axes", [None, "ZYX"])
@pytest.mark.parametrize("said", [None, "zyx", "czyx"])
def test_a_mask_has_the_axes_and_voxels_of_its_image(image, axes, said, tmp_path):
    """Of a file with and without axes, whatever is said of the image; and of an array."""
    path = tmp_path / "mask.tif"
    metadata = {} if axes is None else {"metadata": {"axes": axes}}
    tifffile.imwrite(path, MASK, photometric="minisblack", **metadata)
    for labels in (str(path), [path], MASK):
        (found,) = overlays(image, Over(labels=labels, like=image, axes=said))
        assert found.grid == image.grid


def test_a_mask_keeps_what_it_states(image, tmp_path):
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, MASK[::2], imagej=True, resolution=(2, 2),
                     metadata={"axes": "ZYX", "spacing": 4, "unit": "um"})  # fmt: skip
    (found,) = overlays(image, Over(labels=str(path), like=image))
    assert found.grid.voxel_size == (4.0, 0.5, 0.5)


def test_a_mask_of_another_shape_has_no_place(image, tmp_path):
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, MASK[:3], photometric="minisblack")
    with pytest.raises(chunkscale.OptionError, match="shape 3 x 6 x 8, not that of the image, 4 x"):
        list(overlays(image, Over(labels=str(path), like=image)))
    tifffile.imwrite(path, MASK[0], photometric="minisblack")
    with pytest.raises(chunkscale.OptionError, match="shape"):
        list(overlays(image, Over(labels=str(path), like=image)))


@pytest.mark.parametrize(
    ("name", "saved", "missing"),
    [
        ("mask.ome.tif",
         {"metadata": {"axes": "QYX", **{f"PhysicalSize{axis}": 1 for axis in "ZYX"}}},
         ["axes"]),
        ("mask.tif", {"metadata": {"axes": "ZYX"}, "imagej": True}, ["voxel size"]),
        ("mask.tif", {}, ["axes", "voxel size"]),
    ],
    ids=["axes", "size", "both"],
)  # fmt: skip
def test_a_refused_mask_is_told_what_it_does_not_state(name, saved, missing, image, tmp_path):
    """Its axes, its voxel size or both; not what it states."""
    path = tmp_path / name
    tifffile.imwrite(path, MASK[:3], photometric="minisblack", **saved)
    with pytest.raises(chunkscale.OptionError) as error:
        list(overlays(image, Over(labels=str(path), like=image)))
    assert f"do not state their {' or '.join(missing)}, and" in str(error.value)
    assert f"store them with their {' and '.join(missing)}, as" in str(error.value)


def test_labels_that_no_image_has_are_told(image):
    """Once for all images, and not where one has some or is one."""
    asked = Over(labels=True, like=image)
    with pytest.warns(chunkscale.ChunkscaleWarning, match="no image has labels.*labels='mask.tif'"):
        warn_unlabelled(asked, [image], [()])
    warn_unlabelled(asked, [image, image], [(), ("nuclei",)])
    write_labels(image.uri, "nuclei", MASK, image.grid)
    warn_unlabelled(asked, [image, open_source(f"{image.uri}/labels/nuclei")], [(), ()])
    warn_unlabelled(Over(labels=False, like=image), [image], [()])


def test_a_crop_beside_its_source_shows_the_channels_that_it_has(make_image, noise, tmp_path):
    """The source has to have all that are asked for, the others one of them."""
    window = {"min": 0, "max": 65535, "start": 0, "end": 65535}
    look = {"color": "FFFFFF", "window": window}
    channels = [{"label": name, **look} for name in ("DAPI", "GFP", "RFP")]
    attributes = {"omero": {"channels": channels}}
    path = make_image(noise((3, 4, 6, 8)), (1, 2.0, 0.5, 0.5), axes="czyx", attributes=attributes)
    out = tmp_path / "crop.ome.zarr"
    chunkscale.resample(path, out, channels="GFP", crop="z=1:3")
    source, crop = open_source(path), open_source(out)
    over = Over(labels=False, like=source)

    def shown(image, channels):
        return subject_of(image, None, (channels, 0, None), over).source.grid.shape[0]

    assert (shown(source, "DAPI,GFP"), shown(crop, "DAPI,GFP"), shown(crop, "GFP")) == (2, 1, 1)
    with pytest.raises(chunkscale.OptionError, match=r"'RFP': 'crop.ome.zarr' has none.*only GFP"):
        shown(crop, "RFP")
    with pytest.raises(chunkscale.OptionError, match="no 'CFP'; there are 3, 0 to 2, called DAPI"):
        shown(source, "GFP,CFP")
    with pytest.raises(chunkscale.OptionError, match="no 'RFP'; there is only 0, called GFP"):
        crop.select(channels="RFP")
