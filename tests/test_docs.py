"""Docs: every command and every snippet runs as printed, on the images that they name."""

import doctest
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from grids import grid_for

from chunkscale.cli.main import main
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image("stack.ome.zarr", synthetic_cells(), grid_for(SHAPE, VOXEL_SIZE))
    for example, name in (("labels", "cells.ome.zarr"), ("plate", "plate.ome.zarr")):
        runpy.run_path(str(ROOT / "examples" / f"{example}.py"))["make"](tmp_path / name)
    told = {"axes": "ZYX", **{f"PhysicalSize{axis}": 1 for axis in "XYZ"}}
    tifffile.imwrite("scan.ome.tif", np.zeros((5, 16, 16), "uint8"), ome=True, metadata=told)
    (tmp_path / "planes").mkdir()
    for z in (9, 10):
        tifffile.imwrite(f"planes/z{z}.tif", np.zeros((16, 16), "uint8"))
    return tmp_path


def test_the_commands_of_the_readme_run(here, capsys):
    """Each line after a $ succeeds, and prints what follows it there."""
    commands = [
        part.partition("\n")[::2]
        for block in blocks("console")
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    assert len(commands) >= 4
    assert sum(bool(shown) for _, shown in commands) >= 4
    checker = doctest.OutputChecker()
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        assert program == "chunkscale"
        code = main(arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        said = printed.out.replace(f"{here}/", "")
        assert not shown or checker.check_output(shown, said, doctest.ELLIPSIS), said


def test_the_snippets_of_the_readme_run(here):
    """The Python blocks run one after another."""
    snippets = blocks("python")
    assert len(snippets) >= 2
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), names)
    assert names["iso"].shape == (100, 100, 100)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/CONFORMANCE.md",
        "docs/DESIGN.md",
        "docs/PERFORMANCE.md",
        "docs/SCALING.md",
        "asv_bench/README.md",
    ],
)
def test_links_and_names_lead_somewhere(page):
    """Files that a page links to, or names as scripts, are there."""
    path = ROOT / page
    text = path.read_text()
    assert "COMPARE" not in text
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target
    for target in re.findall(r"`(?:python )?((?:asv_bench|examples|tests)/[\w/]+\.py)", text):
        assert (ROOT / target).exists(), target
