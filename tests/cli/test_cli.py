"""The command line: help, versions, exit codes, one line for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

import mapdiff
from mapdiff.cli import VERBS
from mapdiff.cli import main as cli_main
from synthetic import low_dose_volume


@pytest.fixture
def scan(tmp_path) -> Path:
    path = tmp_path / "scan.nii.gz"
    mapdiff.write(low_dose_volume(), path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_help_of_every_verb_is_quick():
    """One process for all verbs: it must import neither torch nor matplotlib nor the readers."""
    code = f"""
import sys
from typer.testing import CliRunner
from mapdiff.cli.main import app
for words in [[], *[[verb] for verb in {[verb.__name__ for verb in VERBS]!r}]]:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, (words, result.output)
    assert "Usage" in result.output and len(result.output) > 200, words
    print(" ".join(words), result.output)
heavy = [n for n in ("torch", "matplotlib", "nibabel", "pydicom", "scipy", "skimage") if n in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert verb.__name__ in done.stdout
    assert "Research use only" in done.stdout


def test_the_package_runs_as_a_module_and_tells_its_version():
    done = subprocess.run(
        [sys.executable, "-m", "mapdiff", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mapdiff {mapdiff.__version__}\n", "")


def one_line(err: str) -> str:
    """The error's line, which must be the only one."""
    assert err.endswith("\n") and err.count("\n") == 1 and err.startswith("mapdiff: "), err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("verb", ["denoise", "info", "evaluate", "simulate"])
@pytest.mark.parametrize("kind", ["missing", "text"])
def test_a_bad_scan_is_one_line(call, tmp_path, small_model, scan, verb, kind):
    bad, out = tmp_path / "bad.nii.gz", tmp_path / "out"
    if kind == "text":
        bad.write_text("hello\n")
    before = names(tmp_path)
    words = {
        "denoise": [bad, "-o", out, "--model", small_model],
        "info": [bad],
        "evaluate": [bad, scan],
        "simulate": ["--from-image", bad, "-o", out],
    }[verb]
    code, stdout, err = call(verb, *words)
    assert (code, stdout) == (2, "")
    if verb == "simulate":  # which tells what it is about to do; the error is the last line
        err = err[err.index("mapdiff: ") :]
    assert "bad.nii.gz" in one_line(err)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["simulate", "--scanner", "mct", "-o", "OUT"], "mct"),
        (["simulate", "--spacing", "-4", "-o", "OUT"], "--spacing"),
        (["simulate", "--spacing", "4,4", "-o", "OUT"], "--spacing"),
        (["simulate", "--spacing", "wide", "-o", "OUT"], "--spacing"),
        (["simulate", "--slab", "4", "-o", "OUT"], "--slab"),
        (["simulate", "--subjects", "0", "-o", "OUT"], "--subjects"),
        (["simulate", "--seed", "-1", "-o", "OUT"], "--seed"),
        (["simulate", "--dose", "1/20", "-o", "OUT"], "--from-image"),
        (["simulate", "--series", "3", "-o", "OUT"], "--from-image"),
        (["simulate", "--from-image", "SCAN", "--dose", "2", "-o", "OUT"], "dose 2"),
        (["benchmark", "--slices", "64", "--work", "FOLDER"], "--slices goes with --speed"),
        (["benchmark", "--quick", "--only", "unet", "--work", "FOLDER"], "--quick and --only"),
        (["benchmark", "--tables", "-o", "OUT"], "is not a benchmark's results"),
        (["denoise", "FOLDER", "-o", "OUT", "--unit", "foo", "--model", "MODEL"], "--unit foo: give Bq/mL"),
        (["export", "FOLDER", "-o", "WEIGHTS"], "holds no run of mapdiff train"),
        (["export", "OUT", "-o", "WEIGHTS"], "there is no such run"),
        (["simulate", "--from-image", "SCAN", "--lesions", "2", "-o", "OUT"], "--lesions"),
        (["simulate", "--from-image", "SCAN", "--subjects", "3", "-o", "OUT"], "--subjects"),
        (["simulate", "--from-image", "SCAN", "--slab", "32", "-o", "OUT"], "--slab"),
        (["simulate", "--from-image", "SCAN", "-o", "FULL"], "give another name"),
        (["simulate", "--lesions", "0", "-o", "OUT"], "--lesions 0"),
        (["simulate", "--from-image", "SCAN", "--dose", "low", "-o", "OUT"], "'low'"),
        (["train", "FOLDER", "--steps", "10", "-o", "OUT"], "not a cohort"),
        (["train", "FOLDER", "--patch", "20", "-o", "OUT"], "--patch"),
        (["train", "COHORT", "--method", "magic", "-o", "OUT"], "magic"),
        (["train", "COHORT", "--steps", "0", "-o", "OUT"], "steps"),
        (["train", "COHORT", "--batch", "0", "-o", "OUT"], "batch"),
        (["train", "COHORT", "--validation", "0", "-o", "OUT"], "validation"),
        (["train", "COHORT", "--validation", "3", "-o", "OUT"], "3"),
        (["train", "COHORT", "--device", "abacus", "-o", "OUT"], "abacus"),
        (["train", "COHORT", "--max-hours", "0", "-o", "OUT"], "max-hours"),
        (["train", "COHORT", "--accumulate", "3", "-o", "OUT"], "batch"),
        (["train", "COHORT", "--init", "magic", "-o", "OUT"], "magic"),
        (["train", "COHORT", "--init", "MODEL", "--channels", "8,8,128", "-o", "OUT"], "--channels"),
        (["train", "COHORT", "--init", "MODEL", "--blocks", "1,1,5", "-o", "OUT"], "--blocks"),
        (["train", "COHORT", "-o", "SCAN"], "scan.nii.gz"),
        (["train", "COHORT", "-o", "/proc/run"], "/proc/run"),
        (["check", "FOLDER"], "not a cohort"),
        (["check", "OUT"], "is not there"),
        (["benchmark", "--plan", "OUT", "--work", "FOLDER"], "is not there"),
        (["pack", "FOLDER", "-o", "OUT"], "not a cohort"),
        (["pack", "COHORT", "-o", "FULL"], "not a cohort store"),
        (["pack", "COHORT", "-o", "OUT", "--jobs", "0"], "--jobs"),
        (["calibrate", "FOLDER"], "not a cohort"),
        (["calibrate", "COHORT", "--measure", "psnr", "-o", "OUT"], "psnr"),
        (["calibrate", "COHORT", "-o", "PNG"], ".json"),
        (["denoise", "SCAN", "-o", "OUT", "--samples", "1"], "--samples"),
        (["denoise", "SCAN", "-o", "OUT", "--samples", "-2"], "--samples"),
        (["denoise", "SCAN", "-o", "OUT", "--model", "magic"], "magic"),
        (["denoise", "SCAN", "-o", "OUT", "--model", "SCAN"], "scan.nii.gz: is no model"),
        (["denoise", "SCAN", "-o", "OUT", "--device", "abacus"], "there are auto, cpu and cuda"),
        (["denoise", "SCAN", "-o", "SCAN"], "scan.nii.gz"),
        (["denoise", "SCAN", "-o", "PNG"], "out.png"),
        (["denoise", "SCAN", "-o", "OUT", "--series", "3"], "--series chooses one of DICOM"),
        (["denoise", "FOLDER", "-o", "OUT"], "folder"),
        (["demo", "-o", "FULL", "--model", "MODEL"], "exists already"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    call, tmp_path, scan, tiny_cohort, small_model, words, said
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    places = {
        "OUT": tmp_path / "out",
        "SCAN": scan,
        "FOLDER": tmp_path / "folder",
        "FULL": tmp_path / "full",
        "COHORT": tiny_cohort,
        "MODEL": small_model,
        "PNG": tmp_path / "out.png",
        "WEIGHTS": tmp_path / "out.safetensors",
    }
    before = names(tmp_path)
    code, stdout, err = call(*[places.get(word, word) for word in words])
    assert (code, stdout) == (2, ""), err
    assert said in one_line(err)
    assert names(tmp_path) == before


def test_a_wrong_call_exits_with_2(call):
    for words in (["denoise"], ["fly"], ["simulate", "--slab", "many", "-o", "x"], ["--no-such-option"]):
        code, _, err = call(*words)
        assert code == 2 and one_line(err).endswith("--help)\n")


def test_our_own_fault_exits_with_1_and_says_so(call, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli_main, "app", broken)
    code, _, err = call("info")
    assert code == 1 and "boom" in err and err.rstrip().endswith("please report it")


def test_an_interrupt_is_one_line(call, scan, monkeypatch):
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mapdiff.formats.read", stopped)
    code, _, err = call("info", scan)
    assert code == 130 and one_line(err) == "mapdiff: interrupted\n"


def test_denoise_prints_where_the_result_is(call, scan, small_model, tmp_path):
    out = tmp_path / "out.nii.gz"
    code, stdout, err = call("denoise", scan, "-o", out, "--model", small_model)
    assert (code, stdout) == (0, f"{out}\n") and "Traceback" not in err
    assert mapdiff.read(out).shape == mapdiff.read(scan).shape
    code, stdout, err = call("denoise", scan, "-o", out, "--model", small_model)
    assert (code, stdout) == (2, "") and "out.nii.gz" in one_line(err) and "--overwrite" in err


def test_a_batch_with_a_bad_scan_exits_with_3_and_lists_it(call, scan, small_model, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    scan.rename(folder / "good.nii.gz")
    (folder / "bad.nii.gz").write_text("hello")
    code, stdout, err = call("denoise", folder, "-o", out, "--model", small_model)
    assert (code, stdout) == (3, f"{out / 'good.nii.gz'}\n")
    last = err.strip().splitlines()[-1]
    assert last == "mapdiff: 1 of 2 scans failed" and "bad.nii.gz" in err and "Traceback" not in err
    code, stdout, err = call("denoise", folder, "-o", out, "--model", small_model)
    assert code == 3 and stdout == "" and "1 done before" in err


def test_simulate_and_info_agree(call, tmp_path):
    cohort = tmp_path / "cohort"
    words = ["--spacing", "8", "--slab", "8", "--scanner", "uexplorer"]
    code, stdout, _ = call("simulate", "-o", cohort, *words)
    assert (code, stdout) == (0, f"{cohort}\n")
    code, stdout, _ = call("info", cohort / "sub-001" / "pet" / "sub-001_rec-drf20_pet.nii.gz")
    assert code == 0 and "unit: Bq/mL" in stdout and "uEXPLORER" in stdout and "8 x 8 x 8" in stdout


def test_calibrate_writes_times_and_a_picture(call, tiny_cohort, tmp_path):
    target = tmp_path / "found.json"
    code, stdout, _ = call("calibrate", tiny_cohort, "-o", target)
    assert code == 0 and len(stdout.splitlines()) == 6 and "1/20" in stdout
    assert names(tmp_path) == ["found.json", "found.png"]
    assert call("calibrate", tiny_cohort, "-o", target)[0] == 2
    target.unlink()
    code, _, err = call("calibrate", tiny_cohort, "-o", target)
    assert code == 2 and "found.png" in one_line(err)  # the picture is not replaced unasked either
    assert names(tmp_path) == ["found.png"]


def test_calibrate_replaces_nothing_but_a_calibration(call, tiny_cohort, tmp_path):
    target = tmp_path / "cohort.json"
    target.write_text('{"kind": "mapdiff cohort"}')
    code, _, err = call("calibrate", tiny_cohort, "-o", target, "--overwrite")
    assert code == 2 and "is no calibration; not replaced" in one_line(err)
    assert target.read_text() == '{"kind": "mapdiff cohort"}' and names(tmp_path) == ["cohort.json"]


def test_calibrate_counts_nobody_twice(call, tiny_cohort, tmp_path):
    code, _, err = call("calibrate", tiny_cohort, tiny_cohort, "-o", tmp_path / "found.json")
    assert code == 2 and "is given twice" in one_line(err) and names(tmp_path) == []
