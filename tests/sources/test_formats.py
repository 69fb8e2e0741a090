"""The table of formats: true, complete, in the documentation, and the source of refusals."""

import importlib.util
import itertools
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.main import main
from chunkscale.sources import file_formats
from chunkscale.sources.formats import FORMATS, READ, format_end, refuse_missing

ROOT = Path(__file__).parents[2]

HEADS = {
    "TIFF file": b"II*\0",
    "HDF5 file": b"\x89HDF\r\n\x1a\n",
    "picture": b"\x89PNG\r\n\x1a\n",
    "Zeiss CZI file": b"ZISRAWFILE",
    "NRRD file": b"NRRD0004\n",
    "array of NumPy": b"\x93NUMPY",
}


def by_name(name):
    return next(row for row in chunkscale.formats() if row["name"] == name)


def test_no_end_is_that_of_two_formats():
    """A name says one thing."""
    ends = [end for found in FORMATS for end in found.ends]
    assert len(set(ends)) == len(ends)
    for end in (end for found in FORMATS[2:] for end in found.ends):
        assert format_end(f"some.thing{end.upper()}") == end


def test_what_is_read_has_a_reader_that_takes_it(tmp_path):
    """By its name, whether its library is installed or not; what is OME-Zarr is taken by none."""
    for found, end in [(row, end) for row in FORMATS for end in row.ends]:
        if found.reader == "tifffile" and not importlib.util.find_spec("chunkscale.sources.tiff"):
            continue
        path = tmp_path / f"image{end}"
        path.touch()
        taken = any(one.takes(str(path)) for one in file_formats.FORMATS)
        assert taken or found not in READ, end
        assert not (taken and found in FORMATS[:2]), end


def test_what_is_installed_is_told():
    """By looking for the modules that a reader needs."""
    for row, found in zip(chunkscale.formats(), FORMATS, strict=True):
        there = all(importlib.util.find_spec(module) for module in found.modules)
        assert row["installed"] == (bool(found.reader) and there)


def test_extras_that_are_advised_exist():
    """In the metadata of the package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = extras["optional-dependencies"]
    for row in chunkscale.formats():
        for extra in re.findall(r"chunkscale\[(\w+)\]", row["install"] or ""):
            if extra == "tiff" and not importlib.util.find_spec("chunkscale.sources.tiff"):
                continue
            assert extra in known


def test_the_documentation_has_the_table():
    """docs/FORMATS.md has a row for each format, with these words and no others."""
    rows = chunkscale.formats()
    read = [
        f"| {row['name']} | {ends(row)} | {row['reader']} | {row['install'] and code(row)} | "
        f"{row['lazily']} | {row['keeps']} |".replace("| None |", "| |")
        for row in rows
        if row["reader"]
    ]
    others = [
        f"| {row['name']} | {ends(row)} | {row['instead']} |" for row in rows if not row["reader"]
    ]
    lines = (ROOT / "docs/FORMATS.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("| ") and not line.startswith("| format")]
    assert tables == [*read, *others]


def ends(row):
    return " ".join(f"`{end}`" for end in row["ends"])


def code(row):
    return f"`pip install {row['install']}`"


def test_the_command_line_prints_the_table(capsys):
    """As text and as JSON."""
    assert main(["formats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == chunkscale.formats()
    assert main(["formats"]) == 0
    text = capsys.readouterr().out
    for row in chunkscale.formats():
        assert row["name"] in text
        assert row["installed"] or (row["install"] or row["instead"]) in text


@pytest.mark.parametrize(("name", "what"), [*itertools.product(("image.dat", "image.nii"), HEADS)])
def test_names_that_lie_are_told_by_the_content(tmp_path, name, what, capsys):
    """And what to do with what is there really."""
    path = tmp_path / name
    path.write_bytes(HEADS[what] + bytes(600))
    assert main(["plan", str(path)]) == 2
    said = capsys.readouterr().err
    row = by_name(what)
    assert f" {what}: " in said
    lies = (
        "it is named like a NIfTI file and is" if name.endswith("nii") else "by its content it is"
    )
    assert lies in said
    if row["installed"]:
        assert f"rename it to 'image{row['ends'][0]}'" in said
    elif row["install"]:
        assert f"pip install {row['install']}" in said


def test_formats_that_hold_others_are_taken_at_their_name(tmp_path, capsys):
    """Imaris files are HDF5, and known by their name alone."""
    (tmp_path / "cells.ims").write_bytes(HEADS["HDF5 file"] + bytes(600))
    assert main(["plan", str(tmp_path / "cells.ims")]) == 2
    assert "bioformats2raw cells.ims cells.zarr" in capsys.readouterr().err


def test_what_is_unknown_is_not_guessed_at(tmp_path, capsys):
    """Neither are files that are not there."""
    (tmp_path / "notes.txt").write_text("hello")
    for name in ("notes.txt", "missing.h5"):
        assert main(["info", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert "seems" not in said
        assert "content" not in said


def test_readers_that_are_missing_are_named_with_what_to_install(monkeypatch, tmp_path, capsys):
    """And with what else can be done."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "chunkscale.sources.formats.find_spec",
        lambda name: None if name in ("nibabel", "bioio") else real(name),
    )
    monkeypatch.setattr("chunkscale.sources.bioio.find_spec", lambda name: None)
    for name, wanted in (
        ("a.nii.gz", "pip install 'chunkscale[nifti]'"),
        ("a.czi", "pip install 'chunkscale[bioio]' bioio-czi"),
        ("a.lif", "bioformats2raw a.lif a.zarr"),
    ):
        (tmp_path / name).write_bytes(bytes(600))
        assert main(["plan", str(tmp_path / name)]) == 2
        assert wanted in capsys.readouterr().err
    with pytest.raises(chunkscale.OptionError, match="is a torn CZI: install"):
        refuse_missing("x.czi", ".czi", what="a torn CZI")


def test_the_way_on_of_pictures_works(tmp_path, noise):
    """Where no reader of bioio is installed."""
    from PIL import Image

    data = noise((6, 8), "uint8")
    Image.fromarray(data).save(tmp_path / "a.png")
    way = next(found for found in READ if ".png" in found.ends).instead
    text = way.format(name=str(tmp_path / "a.png")).rpartition("source_voxel_size: ")[2]
    array = eval(
        text.removesuffix(", if it is grey"), {"numpy": np, "PIL": __import__("PIL.Image")}
    )
    np.testing.assert_array_equal(array, data)
    assert chunkscale.plan_resampling(array, source_voxel_size=1)
