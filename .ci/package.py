"""Build the sdist and from it the wheel, check them, install the wheel, and use it.

    make package            # beside the dependencies of the environment that runs this
    make package CLEAN=1    # with all dependencies, in an environment of its own

What is in the repository and missing in the wheel (a kernel's source, the mark of types) is noticed
here: the tests run on the checkout.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "chunkscale"

#: What a user does first, with the package that the wheel has installed.
TRIAL = """\
import numpy, chunkscale
from pathlib import Path
assert chunkscale.__file__.startswith({venv!r}), chunkscale.__file__
assert Path(chunkscale.__file__).with_name("py.typed").exists()
stack = numpy.zeros((4, 8, 8), "uint16")
chunkscale.resample(stack, "small.zarr", source_voxel_size=(2, 1, 1), method="nearest")
"""


def run(*command: object, **options: object) -> None:
    subprocess.run([str(part) for part in command], check=True, **options)


def build(folder: Path) -> tuple[Path, Path]:
    """Return the sdist, and the wheel that is built from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT,
        stdout=subprocess.DEVNULL)  # fmt: skip
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Compare what the archives hold with what the repository has."""
    tracked = subprocess.run(
        ["git", "ls-files", "src/chunkscale"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert tracked
    with tarfile.open(sdist) as archive:
        sent = {name.partition("/")[2] for name in archive.getnames()}
    installed = {f"src/{name}" for name in zipfile.ZipFile(wheel).namelist()}
    for name in tracked:
        assert name in sent, f"{name} is missing in the sdist"
        assert name in installed, f"{name} is missing in the wheel"
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "tests/conftest.py", "docs/conf.py"):
        assert name in sent, f"{name} is missing in the sdist"


def try_wheel(wheel: Path, folder: Path, clean: bool) -> None:
    """Install the wheel into an environment, and use it there, outside of the checkout."""
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *([] if clean else ["--no-deps"]), wheel)
    if not clean:
        # They come after what the wheel has installed, and packages that are editable do not.
        (packages,) = venv.glob("lib/python*/site-packages")
        beside = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "beside.pth").write_text("\n".join(beside))
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    used = {"cwd": folder, "env": environment}
    run(python, "-c", TRIAL.format(venv=str(venv)), **used)
    run(venv / "bin" / "chunkscale", "check", "small.zarr", **used)


def main(clean: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sdist, wheel = build(folder / "dist")
        run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
        check_contents(sdist, wheel)
        try_wheel(wheel, folder, clean)


if __name__ == "__main__":
    main("--clean" in sys.argv[1:])
