"""A job with a time limit: SIGTERM ends it between two regions, and the next job goes on.

python examples/resume_job.py [FOLDER]

Runs ``resume_job.sh`` as a batch system would: it is told to end soon after it
has begun, and started again until it is through.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image

RESUMABLE = 4


def job(stack: Path, iso: Path, log: Path, limit: float | None) -> int:
    """Run the job script; end it `limit` seconds after its first region."""
    script = Path(__file__).with_name("resume_job.sh")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    before = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(
        ["bash", script, stack, iso, "--zoom", "2", "--memory", "500MiB", "--log", log],
        env={**os.environ, "PATH": path},
    )
    while limit is not None and process.poll() is None:
        time.sleep(0.01)
        if log.exists() and log.stat().st_size > before:
            time.sleep(limit)
            process.send_signal(signal.SIGTERM)
            break
    return process.wait()


def main(folder: Path) -> None:
    stack, iso, log = folder / "stack.ome.zarr", folder / "iso.ome.zarr", folder / "log.jsonl"
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(stack, synthetic_cells(), grid)

    code = job(stack, iso, log, limit=0.05)
    print("the first job ended with", code)
    assert code in (0, RESUMABLE)
    if code == RESUMABLE:
        assert not chunkscale.check(iso)
        assert job(stack, iso, log, limit=None) == 0
    assert chunkscale.check(iso, source=stack)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
