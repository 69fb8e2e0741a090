"""Examples: each does its work on small images, and the second time as well.

They are called as their users call them, through their arguments, in this process.
"""

import ast
import contextlib
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile
from grids import grid_for
from plates import plate as write_plate

import chunkscale
from chunkscale.compute.gpu.find import why_unusable
from chunkscale.samples import synthetic_cells, synthetic_labels, write_image, write_labels

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if "argparse" in path.read_text())
NOTEBOOK = EXAMPLES / "isotropic.ipynb"

SHAPE, SIZE = (10, 40, 40), (2.0, 0.5, 0.5)


def example(name):
    """Return the names of a script."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def call(name, *arguments):
    """Run a script; return what it says has failed."""
    return example(name)["main"]([str(argument) for argument in arguments])


def fine(name, *arguments):
    """Run a script twice: both times nothing fails, and the second one writes no voxel anew."""
    assert call(name, *arguments) is None
    files = (path for path in Path(arguments[1]).rglob("*") if path.is_file())
    made = {path: path.stat().st_mtime_ns for path in files if path.name != "zarr.json"}
    assert made
    assert call(name, *arguments) is None
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder with a stack, as a reader of the examples has one."""
    monkeypatch.chdir(tmp_path)
    write_image("stack.ome.zarr", synthetic_cells(SHAPE, SIZE), grid_for(SHAPE, SIZE))
    return tmp_path


def write_tiff(path, data, sizes=SIZE, names=None):
    told = {"axes": "TCZYX"[-data.ndim :], "Channel": {"Name": names}} if names else {"axes": "ZYX"}
    for axis, size in zip("ZYX", sizes, strict=True):
        told |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(path, data, ome=True, metadata=told)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_what_an_example_does_and_how_it_is_called(name, capsys):
    if name == "label_cells":
        pytest.importorskip("dask_image")
    with pytest.raises(SystemExit) as ended:
        call(name, "--help")
    assert ended.value.code == 0
    assert f"python {name}.py " in capsys.readouterr().out
    assert re.search(rf"(call|fine|example)\(.{name}.[,)]", Path(__file__).read_text())


def test_a_folder_of_tiff_files(here, capsys):
    """Every file that can be is resampled; the others are named with the reason, and fail it."""
    (here / "scans").mkdir()
    write_tiff("scans/a.ome.tif", synthetic_cells(SHAPE, SIZE))
    write_tiff("scans/b.TIFF", synthetic_cells(SHAPE, (1, 1, 1)), (1, 1, 1))
    fine("tiff_folder", "scans", "isotropic", "--voxel-size", "0.5um")
    assert chunkscale.open_image("isotropic/a.ome.zarr").shape == (40, 40, 40)
    assert chunkscale.check("isotropic/a.ome.zarr", source="scans/a.ome.tif")
    assert chunkscale.open_image("isotropic/b.ome.zarr").shape == (20, 80, 80)

    tifffile.imwrite("scans/c.tif", np.zeros((5, 8, 8), "uint8"))
    write_tiff("scans/a.tif", synthetic_cells(SHAPE, SIZE, seed=1))  # the same output as a.ome.tif
    capsys.readouterr()
    failed = call("tiff_folder", "scans", "isotropic", "--voxel-size", "0.5um")
    assert "2 of 4 files failed" in failed
    assert "c.tif: " in failed
    assert "a.ome.tif: " in failed or "a.tif: " in failed
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "a.ome.tif", "a.tif", "b.TIFF", "c.tif"
    ]  # fmt: skip
    assert "no TIFF files" in call("tiff_folder", "isotropic", "out")
    assert not Path("out").exists()


def test_channels_by_name(here, capsys):
    data = np.random.default_rng(0).integers(0, 999, (3, 2, 4, 12, 12), dtype="uint16")
    write_tiff("scan.ome.tif", data, names=["DAPI", "GFP"])
    assert call("channels", "scan.ome.tif") is None
    assert "channels: DAPI, GFP" in capsys.readouterr().out
    fine("channels", "scan.ome.tif", "out.ome.zarr", "--channels", "GFP", "--timepoints", "1:3")
    image = chunkscale.open_image("out.ome.zarr")
    assert (image.shape, image.channels) == ((2, 1, 16, 12, 12), ["GFP"])
    assert image.voxel_size == {"z": 0.5, "y": 0.5, "x": 0.5}
    expected = chunkscale.resample_array(data[1:, 1:], source_voxel_size=SIZE, voxel_size=0.5)
    np.testing.assert_array_equal(image, expected)
    assert "RFP" in call("channels", "scan.ome.tif", "no.ome.zarr", "--channels", "RFP")


def test_a_plate(here):
    write_plate(here / "plate.ome.zarr")
    fine("plate", "plate.ome.zarr", "out.ome.zarr", "--images", "B/*/0", "--voxel-size", "1um")
    told = chunkscale.info("out.ome.zarr")
    assert list(told["images"]) == ["B/03/0", "B/04/0"]
    assert set(chunkscale.open_image("out.ome.zarr/B/04/0").voxel_size.values()) == {1.0}
    assert "C/9/0" in call("plate", "plate.ome.zarr", "no.ome.zarr", "--images", "C/9/0")


@pytest.mark.parametrize("way", [("0.4", "0.5"), ("0.5", "0.4")])
def test_another_version_with_the_same_voxels(here, way):
    data = synthetic_cells(SHAPE, SIZE)
    write_image("old.ome.zarr", data, grid_for(SHAPE, SIZE, translation=(1, 2, 3)), version=way[0])
    fine("upgrade", "old.ome.zarr", "new.ome.zarr", "--to", way[1], "--full")
    image = chunkscale.open_image("new.ome.zarr")
    np.testing.assert_array_equal(image, data)
    assert image.grid == chunkscale.open_image("old.ome.zarr").grid
    assert image.multiscale.version == way[1]


def test_an_image_with_labels(here, capsys):
    """Labels are those that the library makes; what is told of them is true."""
    labels = synthetic_labels(SHAPE, SIZE)
    labels[5, 20, 20] = 999  # too thin for coarser voxels
    write_labels("stack.ome.zarr", "cells", labels, grid_for(SHAPE, SIZE))
    fine("labels", "stack.ome.zarr", "out.ome.zarr", "--voxel-size", "2um")
    image = np.asarray(chunkscale.open_image("out.ome.zarr/labels/cells"))
    before, after = (set(np.unique(ids)) - {0} for ids in (labels, image))
    assert 999 in before - after
    said = capsys.readouterr().out
    assert f"{len(after)} of {len(before)} objects are left" in said
    assert "too thin for these voxels: " + " ".join(map(str, sorted(before - after))) in said
    fine("labels", "stack.ome.zarr", "same.ome.zarr", "--voxel-size", "same")
    assert "changed by 0.00% at most" in capsys.readouterr().out
    write_image("thin.ome.zarr", labels, grid_for(SHAPE, SIZE))
    write_labels("thin.ome.zarr", "cells", labels * (labels == 999), grid_for(SHAPE, SIZE))
    assert call("labels", "thin.ome.zarr", "none.ome.zarr", "--voxel-size", "2um") is None
    assert "cells: 0 of 1 objects are left" in capsys.readouterr().out
    write_image("bare.ome.zarr", labels, grid_for(SHAPE, SIZE))
    assert "has no labels" in call("labels", "bare.ome.zarr", "no.ome.zarr")


def test_objects_are_labelled_on_an_image_that_is_never_stored(here):
    """The labels are those of scipy on the stored isotropic image, with its grid."""
    pytest.importorskip("dask_image")
    from scipy.ndimage import label

    arguments = ["stack.ome.zarr", "out.ome.zarr", "--threshold", 500]
    assert call("label_cells", *arguments) is None
    found = chunkscale.open_image("out.ome.zarr")
    iso = chunkscale.open_image(chunkscale.resample("stack.ome.zarr", "iso.ome.zarr").path)
    expected, count = label(np.asarray(iso) > 500)
    assert count > 1
    assert (found.is_label, found.grid) == (True, iso.grid)
    pairs = np.unique(np.stack([np.ravel(found), expected.ravel()]), axis=1)
    assert pairs.shape[1] == count + 1  # the same objects, whatever their numbers
    assert "exists" in call("label_cells", *arguments)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    missing = {
        "label_cells": ("dask_image.ndmeasure", "dask-image"),
        "slurm_cluster": ("dask_jobqueue", "'chunkscale[distributed]' dask-jobqueue"),
        "gpu": ("dask_cuda", "'chunkscale[distributed]' dask-cuda"),
    }
    for name, (module, install) in missing.items():
        monkeypatch.setitem(sys.modules, module, None)
        more = ["--all-gpus"] if name == "gpu" else []
        with pytest.raises(SystemExit) as ended:
            call(name, "a.ome.zarr", "b.ome.zarr", *more)
        assert "is missing" in ended.value.code
        assert f"pip install {install}" in ended.value.code.replace("xarray", "").strip()


@pytest.mark.skipif(why_unusable() is not None, reason=str(why_unusable()))
@pytest.mark.gpu
def test_on_a_gpu(here):
    fine("gpu", "stack.ome.zarr", "out.ome.zarr", "--device-memory", "1GiB")
    assert chunkscale.open_image("out.ome.zarr").shape == (40, 40, 40)


@pytest.mark.skipif(why_unusable() is None, reason="there is a GPU")
def test_without_a_gpu_the_example_says_so(here):
    assert str(why_unusable()) in call("gpu", "stack.ome.zarr", "out.ome.zarr")


@pytest.mark.slow
def test_from_bucket_to_bucket(here, monkeypatch):
    from s3 import Bucket, endpoint

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner")
    with endpoint() as port:
        bucket = Bucket("lab", port)
        source = bucket.upload(here / "stack.ome.zarr", "stack.ome.zarr")
        out = bucket.url("out.ome.zarr")
        arguments = [source, out, "--endpoint", bucket.endpoint, "--region", "us-east-1"]
        assert call("object_store", *arguments) is None
        made = bucket.stored("out.ome.zarr")
        assert call("object_store", *arguments) is None
        assert bucket.stored("out.ome.zarr") == made
        assert chunkscale.check(out, source=source, storage_options=bucket.options)
        missing = call("object_store", bucket.url("no"), bucket.url("new"), *arguments[2:])
        assert "lab/no" in missing


@pytest.mark.slow
def test_a_cluster_of_slurm(here, monkeypatch):
    """Any cluster of Dask stands in for the one of dask-jobqueue."""
    from distributed import LocalCluster

    names = example("slurm_cluster")
    handler = signal.getsignal(signal.SIGTERM)
    main = names["main"]
    monkeypatch.setitem(
        main.__globals__, "slurm_cluster",
        lambda given: LocalCluster(
            n_workers=given.jobs, threads_per_worker=1, processes=False, dashboard_address=None,
            protocol="tcp", host="127.0.0.1",
        ),
    )  # fmt: skip
    try:
        assert main(["stack.ome.zarr", "out.ome.zarr", "--jobs", "1"]) is None
        assert main(["stack.ome.zarr", "out.ome.zarr", "--jobs", "1"]) is None
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert chunkscale.check("out.ome.zarr", source="stack.ome.zarr")
    assert Path("out.ome.zarr.log.jsonl").read_text()


@dataclass
class Labels:
    """What a layer of napari has that its example asks for."""

    data: np.ndarray
    name: str = "stack"
    scale: np.ndarray = field(default_factory=lambda: np.array([30.0, 2, 0.5, 0.5]))
    translate: np.ndarray = field(default_factory=lambda: np.array([0.0, 7, 8, 9]))
    units: str = "micrometer"
    multiscale: bool = False
    ndim = 4


class Image(Labels):
    """An image has the same."""


@pytest.mark.parametrize("kind", [Image, Labels])
def test_a_layer_of_napari_stays_where_it_is(noise, kind):
    """Its voxels, scale and position are those of the image that `resample_array` makes."""
    layer = kind(noise((2, 5, 12, 10)))
    made = example("napari_layer")["isotropic"](layer, 1.0)
    xarray = pytest.importorskip("xarray")
    at = {
        name: layer.translate[i] + layer.scale[i] * np.arange(layer.data.shape[i])
        for i, name in enumerate("tzyx")
    }
    given = xarray.DataArray(layer.data, at, list("tzyx"))
    how = {"antialias": True} if kind is Image else {"method": "nearest"}
    expected = chunkscale.resample_array(given, voxel_size=1.0, **how)
    np.testing.assert_array_equal(made.data, expected)
    assert type(made) is kind
    np.testing.assert_allclose(made.translate, [axis[0] for axis in expected.coords.values()])
    np.testing.assert_allclose(made.scale, [30, 1, 1, 1])
    assert example("napari_layer")["isotropic"](layer).data.shape == (2, 20, 12, 10)


INTERRUPTED = 'trap "exit 4" TERM; kill -TERM $PPID; for _ in {1..500}; do sleep 0.01; done'


@pytest.mark.parametrize(
    ("command", "code", "requeued"),
    [("exit 0", 0, False), ("exit 2", 2, False), (INTERRUPTED, 4, True)],
)
def test_a_job_of_slurm_goes_back_into_the_queue_if_it_was_interrupted(
    tmp_path, command, code, requeued
):
    """The signal that the shell gets ends the run in order; other failures end the job."""
    queue = tmp_path / "scontrol"
    queue.write_text('#!/bin/sh\necho "$@" > queued\n')
    queue.chmod(0o755)
    ended = subprocess.run(
        ["bash", EXAMPLES / "slurm.sh", "bash", "-c", command],
        cwd=tmp_path, check=False, timeout=20,
        env={"SLURM_JOB_ID": "7", "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert ended.returncode == code
    assert (tmp_path / "queued").exists() == requeued
    if requeued:
        assert (tmp_path / "queued").read_text() == "requeue 7\n"


def cells_of_code():
    """Yield the source of each cell of code, what it has printed, and what it is marked with."""
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            told = ["".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout"]
            yield "".join(cell["source"]), "".join(told), cell["metadata"].get("tags", ())


@pytest.mark.newest
def test_the_notebook_prints_what_it_shows(tmp_path, monkeypatch):
    """All cells run one after another and print again what is stored with them.

    What depends on the machine is marked so. What a cell ends with can be shown.
    """
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    names = {}
    for source, told, marks in cells_of_code():
        *first, last = ast.parse(source).body
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(ast.Module(first, []), str(NOTEBOOK), "exec"), names)
            if isinstance(last, ast.Expr):
                shown = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
            else:
                shown = exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), names)
        if "machine" not in marks:
            assert said.getvalue() == told
        for way in {"_repr_html_", "_repr_png_"} & set(dir(shown)):
            assert getattr(shown, way)()
    assert not list(tmp_path.iterdir())


def test_the_notebook_is_small_and_was_run_from_top_to_bottom():
    assert NOTEBOOK.stat().st_size < 300_000
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
