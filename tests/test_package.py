"""What the package says of itself is said in several files, and is the same in all of them."""

import re
import tomllib

import yaml
from pages import ROOT

import chunkscale

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())

#: Packages that conda has under another name.
CONDA = {"dask[array]": "dask-core"}


def split(requirement):
    """Return the name and the versions of a requirement, as conda has it."""
    name, versions = re.fullmatch(r"([\w\[\]-]+)\s*(.*)", requirement).groups()
    return CONDA.get(name, name), versions


def test_versions_agree():
    stated = {RECIPE["context"]["version"], CITATION["version"]}
    assert stated == {chunkscale.__version__}


def test_conda_installs_what_pip_installs():
    needed = {split(text) for text in PROJECT["dependencies"]}
    needed |= {("python", PROJECT["requires-python"])}
    assert {split(text) for text in RECIPE["requirements"]["run"]} == needed


def test_conda_and_pip_start_the_same_program():
    (program,) = RECIPE["build"]["python"]["entry_points"]
    name, _, function = program.partition(" = ")
    assert {name: function} == PROJECT["scripts"]


def test_licences_and_summaries_agree():
    assert RECIPE["about"]["summary"] == PROJECT["description"]
    assert RECIPE["about"]["license"] == CITATION["license"] == PROJECT["license"]


def test_every_mutation_of_the_table_is_in_the_code():
    """Its text stands there once, so that `make mutants` can run it."""
    with (ROOT / "tests/campaigns/mutants.toml").open("rb") as file:
        listed = tomllib.load(file)["mutant"]
    assert len(listed) > 100
    for entry in listed:
        code = (ROOT / "src/chunkscale" / entry["file"]).read_text()
        assert code.count(entry["old"]) == 1, entry
