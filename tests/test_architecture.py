"""Architecture: who may import whom, what a file may hold, and what importing the package costs."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import chunkscale

ROOT = Path(chunkscale.__file__).parent
GROUND = {"errors", "_version", "parameters", "text"}

#: Wing (or module beside the wings) -> the wings that it may import, besides the ground.
WINGS = {
    "parameters": set(),
    "text": set(),
    "host": set(),
    "geometry": set(),
    "report": {"geometry"},
    "kernels": {"geometry"},
    "ome": {"geometry"},
    "storage": {"geometry", "host"},
    "options": {"geometry", "host"},
    "targets": {"geometry"},
    "sources": {"geometry", "host", "ome", "report", "storage"},
    "plan": {"geometry", "report"},
    "pictures": {"geometry", "ome", "sources", "storage"},
    "viewing": {"geometry", "pictures", "sources"},
    "compute": {"geometry", "host", "kernels", "options", "plan", "sources", "storage"},
    "output": {"geometry", "host", "ome", "plan", "sources", "storage"},
    "run": {"compute", "geometry", "host", "options", "output", "plan", "sources", "storage"},
    "progress": {"kernels", "run"},
    "verify": {
        "compute", "geometry", "kernels", "ome", "options", "report", "sources", "storage",
    },
    "api": {
        "compute", "geometry", "host", "ome", "options", "output", "pictures", "plan", "progress",
        "report", "run", "sources", "storage", "targets", "verify", "viewing",
    },
    "samples": {"geometry", "ome", "output", "storage"},
    "demo": {"geometry", "host", "output", "pictures", "samples", "sources", "storage"},
    "cli": {"api", "demo", "host", "progress", "report", "run"},
}  # fmt: skip

#: Library -> the modules that may import it.
LIBRARIES = {
    "zarr": {"storage"},
    "tensorstore": {"storage"},
    "ome_zarr": {"storage"},
    "numcodecs": {"storage"},
    "obstore": {"storage.buckets"},
    "botocore": {"storage.credentials"},
    "numba": {"kernels.cpu"},
    "cupy": {"kernels.cuda", "compute.gpu"},
    "shtab": {"cli.completion"},
    "tqdm": {"progress"},
    "xarray": {"sources.views", "sources.xarrays"},
    "SimpleITK": {"sources.simpleitk"},
    "spatialdata": {"sources.transformed"},
    "ngff_zarr": set(),
    "napari": set(),
    "matplotlib": {"pictures.drawing"},
    "neuroglancer": {"viewing.page"},
    "tornado": {"viewing.page"},
    "PIL": set(),
    "tifffile": {"sources.tiff.library"},
    "psutil": {"host"},
    "nibabel": {"sources.nifti", "sources.raw_voxels"},
    "bioio": {"sources.bioio"},
    "distributed": {"run.connect", "run.dask_cluster"},
    "dask": {"api", "compute.lazy", "options", "run", "sources"},
}

#: Of a file, and of a function outside `api`.
MOST_LINES, MOST_PARAMETERS = 400, 12


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            yield name, path.read_text()


MODULES = dict(modules())


def imports(text):
    """Yield the modules that a text imports anywhere, types for annotations included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            inner = [name.removeprefix("chunkscale.") for name in names]
            if node.module.partition(".")[0] == "chunkscale" and any(n in MODULES for n in inner):
                yield from names
            else:
                yield node.module


def arrows(name):
    """Return the modules of the package that one imports."""
    found = (m.removeprefix("chunkscale.") for m in imports(MODULES[name]) if m != "chunkscale")
    return {module for module in found if module in MODULES}


def wing(name):
    return name.partition(".")[0]


every_module = pytest.mark.parametrize("name", list(MODULES))


@every_module
def test_modules_import_along_the_arrows(name):
    """The table in docs/DESIGN.md holds, for every import in a file."""
    for module in arrows(name):
        if wing(module) != wing(name) and wing(module) not in GROUND:
            assert wing(module) in WINGS[wing(name)], f"{name} imports {module}"


def test_the_wings_have_floors():
    """The table itself has no circle: each wing stands on those below it."""
    standing = set(GROUND)
    while ready := {w for w, below in WINGS.items() if w not in standing and below <= standing}:
        standing |= ready
    assert standing >= set(WINGS)
    assert {wing(name) for name in MODULES} <= standing


def test_no_modules_import_each_other_in_a_circle():
    """Whoever is imported by nobody that is left is taken away; nobody is left."""
    left = {name: arrows(name) - {name} for name in MODULES}
    while ready := [name for name, found in left.items() if not found & set(left)]:
        for name in ready:
            del left[name]
    assert not left


@every_module
def test_each_library_enters_through_its_doors(name):
    """Foreign names stay behind one door."""
    for module in imports(MODULES[name]):
        library = module.partition(".")[0]
        if library in LIBRARIES:
            doors = LIBRARIES[library]
            assert any(name == door or name.startswith(f"{door}.") for door in doors), module


@every_module
def test_a_file_can_be_read_in_one_go(name):
    """One subject a file: not too long, and no function with a page of parameters."""
    text = MODULES[name]
    assert len(text.splitlines()) <= MOST_LINES
    assert "fmt: skip" not in text
    assert "fmt: off" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and wing(name) != "api":
            given = node.args
            count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            assert count <= MOST_PARAMETERS, node.name


@every_module
def test_no_module_reaches_for_private_names_of_another(name):
    """A name with an underscore is its file's own."""
    for node in ast.walk(ast.parse(MODULES[name])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chunkscale"):
            private = [a.name for a in node.names if a.name.startswith("_")]
            assert private in ([], ["__version__"])


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    """No order of imports is needed, and none is hidden in functions."""
    without = () if importlib.util.find_spec("cupy") else ("kernels.cuda",)
    names = [f"chunkscale.{name}" for name in MODULES if not name.startswith(without)]
    program = f"""
import importlib, sys
for name in {names}:
    for known in [known for known in sys.modules if known.startswith("chunkscale")]:
        del sys.modules[known]
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_the_package_imports_nothing_heavy():
    """`import chunkscale` and `--help` load neither arrays nor stores nor schedulers."""
    heavy = [
        "numpy",
        "dask",
        "zarr",
        "numba",
        "tensorstore",
        "ome_zarr",
        "cupy",
        "scipy",
        "tifffile",
        "matplotlib",
    ]
    for code in (
        "import chunkscale",
        "from chunkscale.cli.arguments import make_parser; make_parser().format_help()",
    ):
        probe = f"{code}; import sys; print([m for m in {heavy} if m in sys.modules])"
        found = subprocess.run(
            [sys.executable, "-c", probe], check=True, capture_output=True, text=True
        )
        assert found.stdout.strip() == "[]"


#: Verb -> what it does not need of a local image, and would take longer to import than all else.
NOT_NEEDED = {
    "info": {"chunkscale.run", "dask", "numba", "tensorstore"},
    "plan": {"numba", "tensorstore"},
    "resample": {"dask.array"},
    "check": {"dask.array"},
}
#: CuPy is none of them: zarr imports it wherever it is installed.
NEVER_NEEDED = {
    "aiohttp", "distributed", "nibabel", "obstore", "ome_zarr", "pandas", "pydantic",
    "tifffile", "xarray",
}  # fmt: skip


@pytest.mark.slow
def test_no_verb_imports_what_it_does_not_need(make_image, noise, tmp_path):
    """A small run takes as long as its imports; ome-zarr alone would take more than all others."""
    image, out = str(make_image(noise((6, 8, 8)), (1.0, 0.5, 0.5))), str(tmp_path / "out.zarr")
    lines = [["info", image], ["plan", image], ["resample", image, out], ["check", out]]
    program = f"""
import json, sys
from chunkscale.cli.main import main
for line in {lines}:
    code = main(line)
    print(json.dumps([line[0], code, list(sys.modules)]), file=sys.stderr)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    told = [json.loads(line) for line in found.stderr.splitlines() if line.startswith("[")]
    assert [(verb, code) for verb, code, _ in told] == [(verb, 0) for verb in NOT_NEEDED]
    for verb, _, modules in told:
        assert not (NOT_NEEDED[verb] | NEVER_NEEDED) & set(modules), verb


def test_the_public_names_resolve():
    """What the package lists exists, and dir() shows it."""
    for name in chunkscale.__all__:
        assert getattr(chunkscale, name) is not None
        # A module of that name would take the place of what the package exports.
        assert not (ROOT / f"{name}.py").exists()
        assert not (ROOT / name).exists()
        assert name in dir(chunkscale)
    with pytest.raises(AttributeError, match="nonsense"):
        chunkscale.nonsense  # noqa: B018
