"""The campaigns in short: a kill at some of the calls of each kind of output."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import chunkscale

CAMPAIGNS = Path(__file__).parent.parent / "campaigns"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals and closed streams are POSIX's"),
]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD is Linux's")
@pytest.mark.skipif(shutil.which("cc") is None, reason="a compiler is needed")
def test_runs_that_are_killed_at_any_call_can_be_resumed():
    """Images, labels and plates, made and replaced: the same bytes, and nothing beside them."""
    cases = ["0.4", "overwrite 0.5", "plate 0.4"]
    done = subprocess.run(
        [sys.executable, CAMPAIGNS / "kills.py", "--every", "97", *cases],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_command_without_standard_streams_ends_well(make_image, noise, tmp_path):
    """Nothing that libraries print gets into a file of the output, and nothing fails at the end."""
    source = make_image(noise((4, 8, 8)), (1.0, 0.5, 0.5))
    out = tmp_path / "out.zarr"
    command = f'exec "{sys.executable}" -m chunkscale resample "{source}" "{out}" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    assert chunkscale.check(out, source=source)
