"""Architecture: who may import whom, and what importing the package costs."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import chunkscale

ROOT = Path(chunkscale.__file__).parent
LEAVES = {"errors", "_version"}

#: Module -> modules of the package that it may import (errors and _version always).
ARROWS = {
    "grid": set(),
    "mapping": {"grid"},
    "pyramid": {"grid"},
    "plan": {"grid", "mapping", "pyramid", "report"},
    "kernels": {"mapping"},
    "kernels.axes": {"mapping", "kernels"},
    "kernels.cpu": {"mapping", "kernels", "kernels.axes"},
    "kernels.reference": {"mapping", "kernels"},
    "kernels.cuda": {"mapping", "kernels", "kernels.axes"},
    "ome": {"grid"},
    "stores": set(),
    "storage": {"grid", "pyramid", "stores"},
    "image": {"ome", "storage", "grid", "lazy", "report"},
    "memory": set(),
    "workspace": set(),
    "region": {"grid", "mapping", "plan", "kernels", "storage"},
    "gpu": {"grid", "mapping", "plan", "kernels", "region", "workspace"},
    "device": {"grid", "plan", "kernels", "region", "workspace", "options", "gpu", "memory"},
    "lazy": {"device", "grid", "mapping", "region", "storage"},
    "worker": {"device", "memory", "plan", "region", "storage"},
    "ledger": {"memory", "plan", "region", "storage"},
    "output": {"ledger", "ome", "plan", "report", "storage", "verify"},
    "execute": {"ledger", "memory", "plan", "region", "worker"},
    "cluster": {"execute", "memory", "worker"},
    "options": {"grid", "pyramid", "memory", "gpu"},
    "verify": {
        "grid", "image", "kernels", "mapping", "ome", "options", "region", "report", "storage",
    },
    "report": set(),
    "demo": {"ome", "output", "storage", "grid", "image", "pyramid", "memory"},
    "api": {
        "verify", "device", "execute", "grid", "image", "lazy", "mapping", "memory",
        "ome", "options", "output", "plan", "pyramid", "region", "report", "storage", "worker",
        "cluster",
    },
    "cli": {"api", "demo", "execute", "memory", "report"},
}  # fmt: skip

#: Library -> the modules that may import it.
LIBRARIES = {
    "zarr": {"storage"},
    "tensorstore": {"storage"},
    "ome_zarr": {"storage"},
    "numcodecs": {"storage"},
    "obstore": {"stores"},
    "botocore": {"stores"},
    "numba": {"kernels.cpu"},
    "cupy": {"kernels.cuda", "gpu"},
    "tqdm": {"cli"},
    "PIL": {"demo"},
    "psutil": {"memory"},
    "distributed": {"cluster"},
    "dask": {"api", "cluster", "execute", "image", "lazy", "options"},
}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            yield name, ast.parse(path.read_text())


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "chunkscale" or node.module == "chunkscale.kernels":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("name", "tree"), list(modules()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_modules_import_along_the_arrows(name, tree):
    """The table in docs/DESIGN.md holds; types that are only annotations count too."""
    allowed = set() if name in LEAVES else ARROWS[name] | LEAVES
    known = set(ARROWS) | LEAVES
    for module in imports(tree):
        if module.startswith("chunkscale."):
            target = module.removeprefix("chunkscale.")
            if target in known:
                assert target in allowed, f"{name} imports {target}"


@pytest.mark.parametrize(
    ("name", "tree"), list(modules()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_library_enters_through_one_module(name, tree):
    """Foreign names stay behind one door."""
    for module in imports(tree):
        library = module.partition(".")[0]
        if library in LIBRARIES:
            assert name in LIBRARIES[library], f"{name} imports {library}"


def test_the_arrows_have_no_cycle_at_import():
    """Every module can be the first one that is imported."""
    for name, _ in modules():
        if name == "kernels.cuda" and importlib.util.find_spec("cupy") is None:
            continue
        subprocess.run([sys.executable, "-c", f"import chunkscale.{name}"], check=True)


def test_importing_the_package_imports_nothing_heavy():
    """`import chunkscale` and `--help` load neither arrays nor stores nor schedulers."""
    heavy = ["numpy", "dask", "zarr", "numba", "tensorstore", "ome_zarr", "cupy", "scipy"]
    for code in ("import chunkscale", "import chunkscale.cli as c; c._parser().format_help()"):
        probe = f"{code}; import sys; print([m for m in {heavy} if m in sys.modules])"
        found = subprocess.run(
            [sys.executable, "-c", probe], check=True, capture_output=True, text=True
        )
        assert found.stdout.strip() == "[]"


def test_the_public_names_resolve():
    """What the package lists exists, and dir() shows it."""
    for name in chunkscale.__all__:
        assert getattr(chunkscale, name) is not None
        # A module of that name would take the place of what the package exports.
        assert not (ROOT / f"{name}.py").exists()
        assert name in dir(chunkscale)
    with pytest.raises(AttributeError, match="nonsense"):
        chunkscale.nonsense  # noqa: B018
