"""What is typed wrong, what would be done, and what a script gets."""

import json
import sys

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.arguments import make_parser
from chunkscale.cli.main import main
from chunkscale.samples import write_labels


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((8, 16, 16)), (1.0, 0.5, 0.5), name="a stack.ome.zarr")


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "usage", "words"),
    [
        (["resample", "a", "b", "--voxelsize", "1"], "resample SRC DST",
         "unknown option --voxelsize; did you mean --voxel-size?"),
        # The option's value takes the place of the argument that is missing, or of one too many.
        (["resample", "a", "--voxelsize", "1"], "resample SRC DST", "did you mean --voxel-size?"),
        (["resample", "a", "--memry=4GiB"], "resample SRC DST", "did you mean --memory?"),
        (["plan", "a", "--xyzzy"], "plan SRC [DST]", "unknown option --xyzzy"),
        (["check", "a", "--sourse", "b"], "check DST", "did you mean --source?"),
        (["resampel", "a", "b"], "VERB ...", "unknown verb 'resampel'; did you mean resample?"),
        (["a.zarr"], "VERB ...", "unknown verb 'a.zarr'; choose from info, plan, resample"),
        (["plan", "a", "--method", "linaer"], "plan SRC [DST]", "did you mean linear?"),
        (["plan", "a", "--device", "cuda"], "plan SRC [DST]", "choose from auto, cpu, gpu"),
        (["plan", "a", "--zoom", "0,5"], "plan SRC [DST]", "'0,5' is not a number; write 0.5"),
        (["plan", "a", "--zoom", "big"], "plan SRC [DST]", "'big' is not a number"),
        (["info", "my", "stack.zarr"], "info SRC", "unexpected argument 'stack.zarr'; a path with "
         "spaces goes in quotes"),
        (["plan", "a", "b", "c"], "plan SRC [DST]", "unexpected argument 'c'"),
        (["info"], "info SRC", "required: SRC"),
        (["--verson"], "VERB ...", "did you mean --version?"),
    ],
)  # fmt: skip
def test_what_was_probably_meant_is_said_with_the_usage_of_its_verb(
    arguments, usage, words, capsys
):
    """In three lines: how the verb is called, what is wrong, and where all is listed."""
    first, error, last = refused(arguments, capsys)
    assert first == f"usage: chunkscale {usage}" + " [OPTION ...]" * ("VERB" not in usage)
    assert error.startswith("chunkscale: error: ")
    assert words in error
    verb = "" if "VERB" in usage else f" {usage.split()[0]}"
    assert last == f"All options: chunkscale{verb} --help"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--voxel-size", "1", "um"], ["--voxel-size", "1um"]),
        (["--voxel-size", "5", "um", "1um", "1", "um"], ["--voxel-size", "5um,1um,1um"]),
        (["--voxel-size", "z=1,", "y=0.5,", "x=0.5"], ["--voxel-size", "z=1,y=0.5,x=0.5"]),
        (["--factor", "5", "1", "1"], ["--factor", "5,1,1"]),
        (["--fac=5", "1", "1"], ["--fac=5,1,1"]),
        (["--shape", "8", "x", "8", "x", "8"], ["--shape", "8,8,8"]),
        (["--crop", "z=1:3", "y=1:3"], ["--crop", "z=1:3,y=1:3"]),
        (["--memory", "4", "GiB"], ["--memory", "4GiB"]),
    ],
    ids=" ".join,
)
def test_a_value_with_spaces_is_named_as_it_is_written(typed, meant, stack, tmp_path, capsys):
    """Wherever it stands, also where its rest would take the place of DST; the remedy works."""
    paths = [str(stack), str(tmp_path / "out.zarr")]
    for arguments in (
        ["resample", *paths, *typed], ["plan", paths[0], *typed], ["plan", *typed, *paths],
        ["plan", paths[0], *typed, paths[1]],
    ):  # fmt: skip
        assert f"a value has no spaces; write {' '.join(meant)}" in refused(arguments, capsys)[1]
    assert main(["plan", *paths, *meant]) == 0


def test_images_of_a_series_are_paths_behind_a_value(make_image, noise, monkeypatch, tmp_path):
    """They are called 0, 1 and so on."""
    make_image(noise((4, 6, 6)), (1.0, 0.5, 0.5), name="0")
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "--voxel-size", "1", "0"]) == 0
    assert main(["plan", "--voxel-size", "1", "./0", "1"]) == 0


@pytest.mark.parametrize("value", ["-inf", "-1e3", "-.5"])
def test_a_negative_number_is_a_value_and_no_option(value, make_image, noise, capsys):
    path = str(make_image(noise((4, 6, 6), "float32"), (1.0, 0.5, 0.5)))
    assert main(["plan", path, "--like", path, "--outside", value]) == 0
    many = str(make_image(noise((3, 4, 6, 6)), axes="czyx", name="many.ome.zarr"))
    assert main(["plan", many, "--channels", "-1,0"]) == 0
    assert "only channels 2 0" in capsys.readouterr().out


def test_without_a_word_the_help_is_printed(capsys):
    """It is no success: a script that lost its arguments must notice."""
    shown = refused([], capsys)
    assert any(line.split()[:1] == ["resample"] for line in shown)


def test_options_may_stand_between_the_arguments_and_be_cut_short(stack, tmp_path, capsys):
    """Python before 3.13 takes no last argument that may be left out behind an option."""
    given = ["plan", str(stack), "--voxel", "1", str(tmp_path / "out.zarr")]
    assert main(given) == 0
    shown = capsys.readouterr().out
    assert "zyx 8 x 8 x 8" in shown
    assert f"{tmp_path / 'out.zarr'} can be written" in shown


def test_plan_and_resample_differ_by_one_word():
    """Whatever one takes the other takes, but for the option that makes them the same."""
    plan, resample = (make_parser().verbs[name] for name in ("plan", "resample"))
    assert set(resample.options) - set(plan.options) == {"--dry-run"}
    assert set(plan.options) <= set(resample.options)


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_prints_the_plan_and_writes_nothing(stack, tmp_path, capsys):
    """`resample --dry-run`, `plan` with both paths, and `plan` of the source agree."""
    both, before = [str(stack), str(tmp_path / "out.zarr"), "--voxel-size", "1"], tree(tmp_path)
    printed = {}
    for json_too in ([], ["--json"]):
        for given in (
            ["resample", *both, "--dry-run"], ["plan", *both], ["plan", both[0], *both[2:]]
        ):  # fmt: skip
            assert main([*given, *json_too]) == 0
            printed[given[0], len(given), bool(json_too)] = capsys.readouterr().out
    assert printed["resample", 6, False] == printed["plan", 5, False]
    assert printed["resample", 6, True] == printed["plan", 5, True]
    assert printed["plan", 5, False] == (
        printed["plan", 4, False] + f"output   {both[1]} can be written\n"
    )
    facts = json.loads(printed["plan", 5, True])
    assert facts.pop("destination") == {"path": both[1], "refusal": None}
    assert facts == json.loads(printed["plan", 4, True])
    assert tree(tmp_path) == before


@pytest.mark.parametrize("verb", [["plan"], ["resample", "--dry-run"]])
@pytest.mark.parametrize("name", ["out.zarr", "out.ozx"])
def test_a_plan_says_why_a_destination_cannot_be_written(verb, name, stack, tmp_path, capsys):
    """After the plan, as the run would; with what it would take to replace it all is well."""
    out = tmp_path / name
    assert main(["resample", str(stack), str(out), "--quiet"]) == 0
    before = tree(tmp_path)
    assert main([*verb, str(stack), str(out)]) == 2
    shown = capsys.readouterr()
    assert "zyx 16 x 16 x 16" in shown.out
    assert "can be written" not in shown.out
    assert f"'{out}' exists" in shown.err
    assert "overwrite" in shown.err
    assert main([*verb, str(stack), str(out), "--json"]) == 2
    shown = capsys.readouterr()
    assert "exists" in json.loads(shown.out)["destination"]["refusal"]
    assert main([*verb, str(stack), str(out), "--overwrite"]) == 0
    assert tree(tmp_path) == before


def test_a_dry_run_finds_what_a_run_finds_last(stack, tmp_path, capsys):
    """That an output lies in its source is looked for when the plan is there."""
    assert main(["plan", str(stack), str(stack / "out.zarr")]) == 2
    shown = capsys.readouterr()
    assert "lies inside the source" in shown.err
    assert "zyx" in shown.out
    assert main(["plan", str(stack), "https://host.invalid/out.zarr"]) == 2
    assert "write to a local path" in capsys.readouterr().err


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("name", ["out.zarr", "out.ozx"])
def test_a_dry_run_says_how_much_of_a_resumed_run_is_done(name, stack, tmp_path, capsys):
    """Of the regions of the whole run; nothing where it would start anew."""
    out, given = tmp_path / name, {"chunk": 8, "shard": 8, "voxel_size": 0.5}
    typed = [str(stack), str(out), "--chunk", "8", "--shard", "8", "--voxel-size", "0.5"]

    def stop(progress):
        if progress.regions == 3:
            raise KeyboardInterrupt

    assert main(["plan", *typed, "--resume"]) == 0
    assert "resume" not in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(stack, out, progress=stop, workers=1, **given)
    assert main(["resample", *typed, "--resume", "--dry-run"]) == 0
    total = chunkscale.plan_resampling(stack, **given).region_count
    assert f"resume   3 of {total} regions already done\n" in capsys.readouterr().out
    assert main(["resample", *typed, "--resume", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["destination"]["regions_done"] == 3


def test_options_are_refused_first_and_the_source_before_the_output(stack, tmp_path, capsys):
    """Whatever is wrong with the output; and an output that is its source before the plan."""
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    missing = str(tmp_path / "missing.zarr")
    for source, options, words in (
        (str(stack), ["--voxel-size", "big"], "'big'"), (missing, [], "does not exist"),
        (str(stack), [], "never overwritten"),
    ):  # fmt: skip
        assert main(["resample", source, str(taken), *options]) == 2
        assert words in capsys.readouterr().err
    assert main(["resample", str(stack), str(stack), "--overwrite"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, "is the source itself" in shown.err) == ("", True)


def test_a_file_that_is_source_and_output_is_not_told_to_be_removed(tmp_path, capsys):
    """It is no OME-Zarr image that is in the way: who removes it has lost the source."""
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "cells.tif"
    sizes = {"spacing": 2.0, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(
        path, np.zeros((4, 8, 8), "u2"), imagej=True, metadata=sizes, resolution=(2, 2)
    )
    for more in ([], ["--overwrite"]):
        assert main(["resample", str(path), str(path), *more]) == 2
        assert "is the source itself; choose another path" in capsys.readouterr().err


def test_a_dry_run_refuses_what_no_run_could_do(stack, tmp_path, capsys):
    """Then there is no plan to print."""
    given = [str(stack), str(tmp_path / "out.zarr"), "--levels", "99"]
    assert main(["resample", *given, "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "level" in shown.err


def test_a_run_as_json_is_one_value_on_stdout(stack, tmp_path, capsys):
    out = tmp_path / "out.zarr"
    assert main(["resample", str(stack), str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(out)
    assert facts["target"]["shape"] == [16, 16, 16]
    assert facts["times"]["regions"] == facts["regions"] == 1
    assert "started" not in facts["times"]  # of a clock that nobody else has


def test_a_quiet_run_says_what_it_warns_of_alone(stack, tmp_path, capsys):
    """And its errors; so does a quiet plan."""
    out = tmp_path / "out.zarr"
    shrinking = [str(stack), str(out), "--quiet", "--voxel-size", "4"]
    for verb in ("plan", "resample"):
        assert main([verb, *shrinking]) == 0
        shown = capsys.readouterr()
        assert shown.out == ""
        assert [line.partition(":")[0] for line in shown.err.splitlines()] == ["warning"]
    assert main(["resample", *shrinking]) == 2
    assert capsys.readouterr().err.startswith("chunkscale: error: ")
    assert chunkscale.check(out)


def test_what_is_left_out_as_asked_is_no_warning(make_image, noise, tmp_path, capsys):
    path = make_image(noise((4, 6, 6)), (1.0, 0.5, 0.5))
    write_labels(path, "nuclei", noise((4, 6, 6)), chunkscale.open_image(path).grid)
    for arguments in (["plan"], ["plan", "--quiet"], ["resample", "--quiet"]):
        typed = [*arguments, str(path), str(tmp_path / "out.zarr"), "--no-labels"]
        assert main(typed) == 0
        shown = capsys.readouterr()
        assert "warning" not in shown.out + shown.err


def test_without_shtab_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    (error,) = refused(["--print-completion", "bash"], capsys)
    assert "pip install 'chunkscale[completion]'" in error


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_a_shell_gets_verbs_options_and_paths_to_complete(shell, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as exit:
        main(["--print-completion", shell])
    assert exit.value.code == 0
    script = capsys.readouterr().out
    for word in ("resample", "voxel-size", "lanczos"):
        assert word in script


def test_an_unknown_option_is_no_output(stack, capsys):
    """What looks like one is a path only behind ``--``, as everywhere."""
    for arguments in (["-z"], ["--voxel-size", "1", "-z"], ["--voxel-size", "1", "-z", "out.zarr"]):
        assert "'-z'" in " ".join(refused(["plan", str(stack), *arguments], capsys))
    for arguments in (["--voxel-size", "1", "--", "-out"], ["--voxel-size", "1", "out"]):
        assert main(["plan", str(stack), *arguments]) == 0
        assert f"output   {arguments[-1]} can be written" in capsys.readouterr().out


@pytest.mark.parametrize("memory", ["4.5", 4.5, "0.5"])
def test_a_broken_number_of_bytes_lacks_its_unit(memory, stack):
    with pytest.raises(chunkscale.OptionError, match=f"did you mean '{memory}GiB'"):
        chunkscale.plan_resampling(stack, memory=memory)
    with pytest.raises(chunkscale.OptionError, match=r"'0\.0' is not positive"):
        chunkscale.plan_resampling(stack, memory="0.0")


def test_json_is_printed_however_quiet_a_plan_is(stack, capsys):
    """As by a quiet run: whoever asks for both reads the one with a program."""
    assert main(["plan", str(stack), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["path"] == str(stack)
