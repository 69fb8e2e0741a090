"""Docs: every command and every snippet runs as printed, on the images that its page names."""

import doctest
import re
import runpy
import shlex
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import ROOT, make_images

from chunkscale.cli.main import main

SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *SITE]
BLOCK = re.compile(r"^```(console|python|pycon)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def named(page):
    return str(page.relative_to(ROOT))


def commands_of(block):
    """Yield each command after a $, and what is printed below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield shlex.split(command), shown


def try_commands(block, capsys):
    for (program, *arguments), shown in commands_of(block):
        assert program == "chunkscale"
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        said = (printed.out + printed.err).replace(f"{Path.cwd()}/", "")
        wanted = shown or "...\n"
        assert doctest.OutputChecker().check_output(wanted, said, LENIENT), said


def try_session(block, names, page):
    test = doctest.DocTestParser().get_doctest(block, names, page, page, 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=LENIENT)
    assert test.examples
    assert not runner.run(test, clear_globs=False).failed
    names.update(test.globs)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=named
)  # fmt: skip
def test_what_a_page_shows_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch, capsys):
    """Blocks run one after another, as a reader would type them, in a folder of their own.

    Each line after a $ succeeds and prints what follows it there, warnings included; Python
    blocks share their names; sessions (>>>) print what they show.
    """
    text = page.read_text()
    monkeypatch.chdir(tmp_path)
    make_images(text, tmp_path)
    names = {}
    for language, block in BLOCK.findall(text):
        if language == "console":
            try_commands(block, capsys)
        elif language == "pycon":
            try_session(block, names, named(page))
        else:
            exec(compile(block, named(page), "exec"), names)


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "asv_bench/README.md"))],
    ids=named,
)
def test_links_and_names_lead_somewhere(page):
    """Files that a page links to, or names as scripts, are there."""
    text = page.read_text()
    assert "COMPARE" not in text
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`(?:python )?((?:asv_bench|examples|tests)/[\w/]+\.py)", text):
        assert (ROOT / target).exists(), target


def test_each_dependency_and_each_extra_is_explained_on_the_page_about_installing():
    page = (ROOT / "docs" / "install.md").read_text()
    explained = set(re.findall(r"[\w-]+", "".join(re.findall(r"^\|([^|]*)\|", page, re.MULTILINE))))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w-]+", text).group() for text in project["dependencies"]}
    assert needed
    extras = {name for name, brings in project["optional-dependencies"].items() if brings}
    assert needed | extras <= explained


def test_drawings_are_well_formed():
    """A page holds them as they are, so a tag that is not closed would swallow what follows."""
    drawings = runpy.run_path(str(ROOT / "docs" / "_ext" / "drawings.py"))["DRAWINGS"]
    assert drawings
    for draw in drawings.values():
        assert ElementTree.fromstring(draw()).tag.endswith("svg")
