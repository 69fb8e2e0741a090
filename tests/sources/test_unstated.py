"""Files that do not state their axes or voxel size are described all the same, with the way on.

Nothing is made up: what stands in for it is nowhere in what `info` returns.
"""

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale.cli.main import main

STACK = np.zeros((5, 8, 9), "uint16")


@pytest.mark.parametrize(
    ("saved", "axes", "sizes", "remedies"),
    [
        ({}, "Qyx", [None] * 3, ["--source-axes zyx", "--source-voxel-size z=1um,y=1um,x=1um"]),
        ({"metadata": {"axes": "ZYX"}}, "zyx", [None] * 3, ["z=1um,y=1um,x=1um"]),
        ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}},
         "zyx",
         [None, 0.2, 0.2], ["--source-voxel-size z=1 with their sizes, in micrometer"]),
    ],
    ids=["no axes", "no size", "no z"],
)  # fmt: skip
def test_a_file_is_described_without_what_it_does_not_state(
    saved, axes, sizes, remedies, tmp_path, capsys
):
    """With its shape and data type, and the options that it takes, which work."""
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **saved)
    facts = chunkscale.info(path)
    assert (facts["shape"], facts["dtype"]) == ([5, 8, 9], "uint16")
    assert "".join(axis["name"] for axis in facts["axes"]) == axes
    assert facts["voxel_size"] == pytest.approx(sizes)
    assert facts["levels"][0]["voxel_size"] is None
    assert len(facts["warnings"]) == len(remedies)
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "5 x 8 x 9 uint16" in shown
    for remedy in remedies:
        assert remedy in shown
    typed = " ".join(remedy.partition(" with")[0] for remedy in remedies)
    typed = typed if typed.startswith("--") else f"--source-voxel-size {typed}"
    assert main(["plan", str(path), *typed.split()]) == 0
    with pytest.raises(chunkscale.OptionError, match="does not say"):
        chunkscale.open_image(path)


def test_what_is_said_wrongly_of_a_file_is_refused(tmp_path):
    """It is not replaced by a guess."""
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack")
    with pytest.raises(chunkscale.OptionError, match="does not fit"):
        chunkscale.info(path, axes="yx")
    with pytest.raises(chunkscale.OptionError, match="along y, x"):
        chunkscale.info(path, axes="zyx", source_voxel_size="z=1")
