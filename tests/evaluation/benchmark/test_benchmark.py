"""The benchmark from a plan to rows and tables, on bodies that need no simulation."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from mapdiff.cohort.layout import dose_path, write_image
from mapdiff.dose import FULL
from mapdiff.errors import InputError, PartialFailure
from mapdiff.evaluation.benchmark import evidence, run, subjects, tuning
from mapdiff.evaluation.benchmark.document import BEGIN, END, tables, write_tables
from mapdiff.evaluation.benchmark.plan import CohortSpec, Entry, Plan, read_plan
from mapdiff.evaluation.benchmark.restore import Restorer
from mapdiff.evaluation.benchmark.rows import KEYS, differences, largest_change, rows_of, way_to_oracle
from mapdiff.evaluation.benchmark.subjects import TestSubject, scans_hash
from mapdiff.formats import read
from mapdiff.inference.in_memory import InMemory
from mapdiff.inference.noise_level import InputNoise
from mapdiff.methods.model_file import TrainedModel, save_model
from mapdiff.methods.registry import method_named
from mapdiff.volume import Volume
from synthetic import FULL_LEVEL, nominal_calibration, small_trained_model

COHORT = {"name": "internal", "grid": "4 mm", "scanner": "quadra", "seed": 3, "subjects": 3}
ENTRIES = [
    {"method": "input", "quick": True},
    {"method": "oracle", "quick": True},
    {"method": "gaussian"},
    {"method": "map-diff", "model": "map-diff.safetensors", "quick": True},
    {"method": "unet", "model": "unet.safetensors", "quick": True},
    {"method": "ddpm", "model": "ddpm.safetensors", "sampler": "ddim", "steps": 12, "first": 2,
     "main_dose_only": True},
    {"method": "map-diff", "model": "map-diff.safetensors", "samples": 2, "first": 1, "main_dose_only": True},
]  # fmt: skip
PLAN = {
    "cohorts": [COHORT],
    "entries": ENTRIES,
    "validation": [{**COHORT, "name": "validation", "seed": 4}],
    "doses": ["1/20", "1/50"],
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Small models that no training made."""
    folder = tmp_path_factory.mktemp("work")
    save_model(small_trained_model(), folder / "map-diff.safetensors")
    for name in ("unet", "ddpm"):
        torch.manual_seed(2)
        net = method_named(name).build((8, 16), (1, 1)).eval()
        save_model(
            TrainedModel(name, net, nominal_calibration(), (0.03, 1.2)), folder / f"{name}.safetensors"
        )
    (folder / "plan.json").write_text(json.dumps(PLAN))
    return folder


@pytest.fixture(scope="module")
def on_tiny(tiny_cohort):
    """Every cohort of a plan is the tiny one."""
    with pytest.MonkeyPatch.context() as patch:
        folders = sorted(tiny_cohort.glob("sub-*"))
        patch.setattr(run, "prepare", lambda spec, *_: folders[: spec.subjects])
        patch.setattr(tuning, "prepare", lambda spec, *_: folders[: spec.subjects])
        patch.setattr("mapdiff.evaluation.statistics.RESAMPLES", 99)
        patch.setattr("mapdiff.evaluation.statistics.LEAST_SUBJECTS", 3)
        # Networks that nothing trained take no noise away, so they would find none.
        patch.setattr(InMemory, "_noise", lambda *_: InputNoise(FULL_LEVEL * 20**0.5, 64.0))
        yield


@pytest.fixture(scope="module")
def done(work, on_tiny):
    """A whole run: its results' file and what it said."""
    said: list[str] = []
    results, page = work / "results.json", work / "page.md"
    page.write_text(f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    evidence.run_evidence(work / "plan.json", work, results, None, page, False, said.append)
    return results, page, said


def test_the_pages_of_results_can_read_it(done):
    from mapdiff.evaluation.rows import rows_from_json

    content = json.loads(done[0].read_text())
    read = rows_from_json(content)
    assert len(read) == len(content["rows"])
    for found, row in zip(read, content["rows"], strict=True):
        assert (found.metric, found.region, found.mean) == (row["metric"], row["region"], row["mean"])


def row_of(rows, method, metric="psnr", **other):
    wanted = {
        "method": method, "metric": metric, "convention": "mapdiff, volume", "reference": "full",
        "stage": "full", "input_dose": "1/20", **other,
    }  # fmt: skip
    if method == "map-diff":
        wanted.setdefault("sampler", "")
    found = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    assert len(found) == 1, (method, metric, other)
    return found[0]


def test_every_row_is_as_the_format_says(done):
    content = json.loads(done[0].read_text())
    for row in content["rows"]:
        assert set(row) == {*KEYS, "protocol", "region", "n", "mean", "ci_low", "ci_high", "subjects"}
        assert row["n"] == len(row["subjects"]) and row["mean"] == pytest.approx(
            sum(row["subjects"].values()) / row["n"]
        )
        assert row["reference"] in ("full", "truth")
    rows = content["rows"]
    assert {r["method"] for r in rows} == {e["method"] for e in ENTRIES}
    for metric in ("psnr", "ssim", "nmae", "nrmse", "total activity bias"):
        row = row_of(rows, "map-diff", metric)
        assert row["n"] == 3 and row["ci_low"] <= row["mean"] <= row["ci_high"]
        row_of(rows, "map-diff", metric, reference="truth")
    for metric in ("psnr", "nrmse", "ssim"):
        row_of(rows, "unet", metric, convention="udpet, volume")
    assert row_of(rows, "ddpm")["n"] == 2 and row_of(rows, "ddpm")["sampler"] == "ddim-12"
    assert not [r for r in rows if r["method"] == "ddpm" and r["input_dose"] == "1/50"]
    assert row_of(rows, "ddpm", "evaluations", convention="of the network, per volume")["mean"] == 12
    assert row_of(rows, "unet", "evaluations", convention="of the network, per volume")["mean"] == 1


def test_the_figures_are_those_of_the_images(done, tiny_cohort):
    """One value by hand; and the oracle, to which nothing comes near, is the best."""
    from mapdiff.cohort.layout import doses_of
    from mapdiff.evaluation.metrics import psnr
    from mapdiff.formats import read

    rows = json.loads(done[0].read_text())["rows"]
    paths = doses_of(tiny_cohort / "sub-002")
    low, full = read(paths[Fraction(1, 20)]), read(paths[Fraction(1)])
    found = row_of(rows, "input")["subjects"]["sub-002"]
    assert found == pytest.approx(psnr(low.array, full.array).value, abs=1e-6)
    best = {m: row_of(rows, m)["mean"] for m in ("input", "gaussian", "oracle")}
    assert best["input"] < best["gaussian"] < best["oracle"]
    done_way = way_to_oracle(rows, row_of(rows, "gaussian"))
    assert done_way == pytest.approx(
        100 * (best["gaussian"] - best["input"]) / (best["oracle"] - best["input"])
    )
    assert way_to_oracle(rows, row_of(rows, "oracle")) == pytest.approx(100)


def test_stages_are_held_against_the_scans_of_their_doses(done):
    rows = json.loads(done[0].read_text())["rows"]
    for stage in ("1/10", "1/4", "1/2"):
        for method in ("map-diff", "unet", "oracle"):
            row_of(rows, method, stage=stage)
        forms = {r["sampler"] for r in rows if r["method"] == "ddpm" and r["stage"] == stage}
        assert forms == {"ddim-12", "ddim-12, rescaled state"}


def test_differences_are_paired(done):
    content = json.loads(done[0].read_text())
    rows = content["rows"]
    one = [
        d
        for d in content["differences"]
        if d["versus"] == {"method": "ddpm", "sampler": "ddim-12"}
        and (d["metric"], d["convention"]) == ("psnr", "mapdiff, volume")
        and (d["stage"], d["reference"]) == ("full", "full")
    ]
    assert len(one) == 1 and one[0]["method"] == "map-diff" and one[0]["n"] == 2
    ours, theirs = row_of(rows, "map-diff")["subjects"], row_of(rows, "ddpm")["subjects"]
    assert one[0]["subjects"] == {n: pytest.approx(ours[n] - theirs[n]) for n in ("sub-001", "sub-002")}
    assert not [d for d in content["differences"] if d["versus"]["method"] in ("input", "oracle")]


def test_the_page_has_the_tables_and_keeps_its_words(done):
    text = done[1].read_text()
    assert text.startswith("# Title\n\nBefore.") and text.endswith("After.\n") and "\nold\n" not in text
    assert "## internal, 4 mm" in text and "### Input 1/20" in text and "PSNR from 1/50" in text
    whole, few = text.split("The first 2 subjects only:")
    assert "| ddpm (ddim-12) | 3 |" not in text and "| ddpm (ddim-12) | 2 |" not in whole
    assert "| ddpm (ddim-12) | 2 |" in few and "| unet | 2 |" in few and "map-diff minus, paired" in few
    assert "(n = 3)" in whole and "(n = 2)" in whole  # of stages
    unet = next(
        d
        for d in json.loads(done[0].read_text())["differences"]
        if (d["versus"]["method"], d["metric"], d["convention"]) == ("unet", "psnr", "mapdiff, volume")
        and (d["input_dose"], d["stage"], d["reference"]) == ("1/20", "full", "full")
    )
    mark = "**" if unet["clear_of_zero"] else ""
    assert f"| unet | 3 | {mark}{unet['mean']:+.2f}{mark} [{unet['ci_low']:+.2f}" in text
    value = row_of(json.loads(done[0].read_text())["rows"], "gaussian")["mean"]
    assert f"| gaussian | 3 | {value:.2f} [" in text


def test_the_first_table_has_all_cohorts_side_by_side(done):
    rows = json.loads(done[0].read_text())["rows"]
    elsewhere = [{**row, "cohort": "real"} for row in rows if row["method"] in ("unet", "input")]
    seeds = [{**row, "sampler": "seed 1"} for row in rows if row["method"] == "unet"]
    glance = tables([*rows, *elsewhere, *seeds], []).split("## internal")[0]
    assert "| method | internal, 4 mm (n = 3) | real, 4 mm (n = 3) |" in glance
    whole = row_of(rows, "unet")["mean"]
    body = row_of(rows, "unet", "nmae", convention="mapdiff, body")["mean"]
    cell = f"{whole:.2f} / {body:.4f}"
    unet = next(line for line in glance.splitlines() if line.startswith("| unet |"))
    assert unet.count(cell) == 2
    gaussian = next(line for line in glance.splitlines() if line.startswith("| gaussian |"))
    assert gaussian.endswith("|  |")  # not run on the other cohort
    assert "ddpm" not in glance and "mean of 2" not in glance and "seed" not in glance


def test_the_spread_of_samples_is_held_against_the_scan(done):
    rows = json.loads(done[0].read_text())["rows"]
    for metric in ("coverage of 50 %", "coverage of 95 %", "spread over error"):
        row = row_of(rows, "map-diff", metric, convention="mapdiff, body", sampler="mean of 2")
        assert row["n"] == 1 and row["mean"] >= 0
    assert "spread over error" in done[1].read_text()


def test_samples_without_noise_are_not_held_against_the_scan(on_tiny, work, tiny_cohort):
    """DDPM draws the noise-free image: however well, its spread lacks the scan's noise."""
    subject = subjects.load(tiny_cohort / "sub-001", "sub-001", (Fraction(1, 20),))
    entry = Entry("ddpm", "ddpm.safetensors", sampler="ddim", steps=2, samples=2)
    outcome = Restorer(entry, work, lambda *_: 0.0)(subject, Fraction(1, 20))
    assert outcome.deviation is None and outcome.evaluations == 4


def test_tables_are_written_from_the_results_alone(done, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")

    def spoilt(rows):
        return [{**row, "mean": 0.0, "ci_low": -1.0} for row in rows]

    results = copied(done, tmp_path, spoilt)
    assert "rows" in evidence.rewrite(results, page)
    assert page.read_text() == done[1].read_text()
    assert json.loads(results.read_text()) == json.loads(done[0].read_text())
    with pytest.raises(InputError, match=r"none\.json.*not a benchmark's results"):
        evidence.rewrite(tmp_path / "none.json", page)


def test_run_again_nothing_is_done_again(done, work, monkeypatch):
    def never(*_):
        raise AssertionError

    before = done[0].read_text()
    monkeypatch.setattr(run, "load", never)
    said: list[str] = []
    evidence.run_evidence(work / "plan.json", work, done[0], None, None, False, said.append)
    assert done[0].read_text() == before and said == []


def test_a_lost_unit_or_other_weights_are_done_again(done, work):
    units = sorted((work / "units").rglob("*.json"))
    assert len(units) == 3 * 5 * 2 + 2 + 1
    units[0].unlink()
    said: list[str] = []
    evidence.run_evidence(work / "plan.json", work, done[0], None, None, False, said.append)
    assert len(said) == 1
    old = units[1].read_text()
    units[1].write_text(old.replace('"fingerprint": "', '"fingerprint": "x'))
    evidence.run_evidence(work / "plan.json", work, done[0], None, None, False, said.append)
    assert (
        len(said) == 2 and json.loads(units[1].read_text())["fingerprint"] == json.loads(old)["fingerprint"]
    )


def test_quick_compares_with_what_is_committed(done, work):
    before = done[0].read_text()
    line = evidence.run_evidence(work / "plan.json", work, done[0], None, None, True, lambda text: None)
    assert line.startswith("largest PSNR difference from results.json: 0.0000 dB over ")
    content = json.loads(before)
    changed = work / "changed.json"
    for row in content["rows"]:
        if row["metric"] == "psnr":
            row["subjects"] = {name: value + 0.05 for name, value in row["subjects"].items()}
    changed.write_text(json.dumps(content))
    with pytest.raises(PartialFailure, match=r"0\.0500 dB.*above 0\.02"):
        evidence.run_evidence(work / "plan.json", work, changed, None, None, True, lambda text: None)
    assert done[0].read_text() == before


def copied(done, tmp_path, change):
    """A copy of the results whose rows were changed."""
    content = json.loads(done[0].read_text())
    content["rows"] = change(content["rows"])
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_one_entry_beside_the_rows_that_are_there(done, work, tmp_path):
    """Added to the others' rows, it gives what the whole run gave."""

    def without_unet(rows):
        return [{**row, "subjects": {}} if row["method"] == "unet" else row for row in rows]

    results, page = copied(done, tmp_path, without_unet), tmp_path / "page.md"
    page.write_text(done[1].read_text())
    plan = work / "plan.json"
    line = evidence.run_evidence(plan, work, results, None, page, False, print, only=["unet"])
    assert "rows" in line
    assert json.loads(results.read_text()) == json.loads(done[0].read_text())
    assert page.read_text() == done[1].read_text()


def test_one_entry_wants_results_of_the_same_subjects(done, work, tmp_path):
    def others(rows):
        return [
            {**row, "subjects": {name: value + 1 for name, value in row["subjects"].items()}}
            if row["method"] == "input"
            else row
            for row in rows
        ]

    plan = work / "plan.json"
    for change, words in (
        (others, "is of other subjects: an input's PSNR is off by 1.00 dB"),
        (
            lambda rows: [row for row in rows if row["method"] != "input"],
            "has no rows of internal 4 mm input",
        ),
    ):
        results = copied(done, tmp_path, change)
        before = results.read_text()
        with pytest.raises(InputError, match=words):
            evidence.run_evidence(plan, work, results, None, None, False, print, only=["unet"])
        assert results.read_text() == before
    with pytest.raises(InputError, match="--only x: the plan has no such entry; it has input, oracle"):
        evidence.run_evidence(plan, work, done[0], None, None, False, print, only=["x"])


def test_one_subject_beside_the_values_that_are_there(done, work, tmp_path):
    """Put into rows that had other values of it, it gives what the whole run gave."""

    def otherwise(rows):
        return [
            {**row, "subjects": {name: v + (name == "sub-002") for name, v in row["subjects"].items()}}
            for row in rows
        ]

    results, plan = copied(done, tmp_path, otherwise), work / "plan.json"
    named = ["internal-4-mm/sub-002"]
    evidence.run_evidence(plan, work, results, None, None, False, print, named=named)
    assert json.loads(results.read_text()) == json.loads(done[0].read_text())


def test_one_subject_wants_every_method_that_has_it(done, work, tmp_path):
    results, plan = copied(done, tmp_path, lambda rows: rows), tmp_path / "plan.json"
    before = results.read_text()
    plan.write_text(json.dumps({**PLAN, "entries": [e for e in ENTRIES if e["method"] != "unet"]}))
    for name, words in (
        ("internal-4-mm/sub-002", "the results have sub-002 by unet, which the plan does not run"),
        ("internal-4-mm/sub-009", "--subject internal-4-mm/sub-009: the plan has no such subject"),
        ("sub-002", "--subject sub-002: COHORT/SUBJECT is wanted, with a cohort of internal-4-mm"),
    ):
        with pytest.raises(InputError, match=words):
            evidence.run_evidence(plan, work, results, None, None, False, print, named=[name])
        assert results.read_text() == before


def test_quick_restores_anew(done, work):
    """What a unit's file says plays no part, and none is written."""
    unit = next((work / "units").rglob("sub-001/1-20/unet.json"))
    before = unit.read_text()
    unit.write_text(before.replace('"value": ', '"value": 1'))
    line = evidence.run_evidence(work / "plan.json", work, done[0], None, None, True, lambda text: None)
    assert " 0.0000 dB over " in line
    unit.write_text(before)


def test_quick_wants_every_value_to_be_committed(done, work, tmp_path):
    content = json.loads(done[0].read_text())
    content["rows"] = [row for row in content["rows"] if row["method"] != "unet"]
    lacking = tmp_path / "lacking.json"
    lacking.write_text(json.dumps(content))
    with pytest.raises(PartialFailure, match=r"lacking\.json lacks internal 4 mm unet  sub-001"):
        evidence.run_evidence(work / "plan.json", work, lacking, None, None, True, lambda text: None)
    with pytest.raises(InputError, match=r"none\.json"):
        evidence.run_evidence(work / "plan.json", work, tmp_path / "none.json", None, None, True, print)


@pytest.mark.parametrize(
    "facts",
    [
        {"method": "unet", "path": "chained"},
        {"method": "unet", "path": "mirrored", "samples": 2},
        {"method": "ddpm", "path": "mirrored"},
        {"method": "gan", "evaluations": 2},
        {"method": "map-diff", "between": 1},
        {"method": "map-diff", "path": "sideways"},
    ],
)
def test_paths_that_a_network_was_not_made_for(facts):
    with pytest.raises(InputError, match="path"):
        Entry(model="m.safetensors", **facts)
    assert Entry("unet", "m.safetensors", path="mirrored", evaluations=1).key == "unet"


def test_further_steps_of_the_papers_path(on_tiny, tiny_cohort, tmp_path):
    net = method_named("map-diff-paper").build((8, 16), (1, 1)).eval()
    model = TrainedModel("map-diff-paper", net, nominal_calibration(), (0.03, 1.2))
    save_model(model, tmp_path / "paper.safetensors")
    folder = sorted(tiny_cohort.glob("sub-*"))[0]
    subject = subjects.load(folder, folder.name, (Fraction(1, 20),))

    def evaluations(between: int) -> int:
        entry = Entry("map-diff-paper", "paper.safetensors", between=between)
        return Restorer(entry, tmp_path, lambda *_: 0.0)(subject, Fraction(1, 20)).evaluations

    gaps = evaluations(0)
    assert gaps >= 2 and evaluations(1) == 2 * gaps and evaluations(3) == 4 * gaps


def test_other_scans_of_the_same_seed_are_measured_anew(done, work, tiny_cohort, tmp_path, monkeypatch):
    """A preset or the simulator changed, or a real scan's file was replaced."""
    subject = shutil.copytree(tiny_cohort / "sub-002", tmp_path / "sub-002")
    before = scans_hash(subject)
    assert before == scans_hash(tiny_cohort / "sub-002") != scans_hash(tiny_cohort / "sub-001")
    for dose in (FULL, Fraction(1, 20)):
        path = dose_path(subject, "sub-002", dose)
        volume = read(path)
        kept = path.read_bytes()
        path.unlink()
        write_image(volume.with_array(volume.array * 3), path)
        assert scans_hash(subject) != before
        path.write_bytes(kept)
    assert scans_hash(subject) == before
    monkeypatch.setattr(run, "scans_hash", lambda folder: "other")
    said: list[str] = []
    restorers = {"input": Restorer(Entry("input"), work, lambda *_: 0.0)}
    plan = read_plan(work / "plan.json")
    folders = {plan.cohorts[0].folder: [tiny_cohort / "sub-001"]}
    units = [unit for unit in run.units_of(plan, folders, False) if unit.entry.method == "input"]
    again = shutil.copytree(work / "units", tmp_path / "units").parent
    run._restored(units, again, restorers, said.append)
    assert len(said) == len(units) == 2


def test_a_tuned_parameter_and_the_voxel_size_are_part_of_the_fingerprint(tmp_path):
    widths = {(1.65,) * 3: 3.0, (4.0,) * 3: 9.0}
    restorer = Restorer(Entry("gaussian"), tmp_path, lambda method, dose, spacing: widths[spacing])
    marks = {restorer.fingerprint(Fraction(1, 20), spacing) for spacing in widths}
    assert len(marks) == 2


def test_real_scans_are_tied_to_what_they_were_made_from(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        subjects,
        "simulate_from_image",
        lambda scan, folder, *_, **__: (folder.mkdir(parents=True), made.append(scan)),
    )
    for name in ("a", "b"):
        (tmp_path / "shared" / name).mkdir(parents=True)
    spec = CohortSpec("real", "own", "quadra", seed=5, scans=("a", "b"))
    for only in (("scan-2",), (), ()):
        folders = subjects.prepare(spec, tmp_path, tmp_path / "shared", lambda line: None, only)
    assert [path.name for path in made] == ["b", "a"] and len(folders) == 2
    with pytest.raises(InputError, match="another scan"):
        subjects.prepare(replace(spec, scans=("b", "a")), tmp_path, tmp_path / "shared", print)


def test_quick_takes_its_subjects_and_entries_only(work):
    plan = read_plan(work / "plan.json")
    folders = {plan.cohorts[0].folder: [work / f"sub-00{n}" for n in (1, 2, 3)]}
    units = list(run.units_of(plan, folders, quick=True))
    assert {u.subject for u in units} == {"sub-001", "sub-002"}
    assert {u.entry.method for u in units} == {"input", "oracle", "map-diff", "unet"}
    assert {u.dose for u in units} == {Fraction(1, 20)} and len(units) == 8


def test_a_model_of_another_method_is_refused(work, on_tiny):
    plan = work / "wrong.json"
    wrong = {**PLAN, "entries": [{"method": "unet", "model": "ddpm.safetensors"}]}
    plan.write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=r"ddpm\.safetensors.*is a model of ddpm, not of unet"):
        evidence.run_evidence(plan, work, work / "none.json", None, None, False, lambda text: None)
    assert not (work / "none.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entries": [{"method": "magic"}]}, "'magic' is unknown"),
        ({"entries": [{"method": "unet"}]}, "needs a model"),
        ({"entries": [{"method": "input"}, {"method": "input"}]}, "twice"),
        ({"validation": [{**COHORT, "name": "validation"}]}, "tunes on the subjects that it tests on"),
        ({"doses": ["1/50"]}, "lacks the input dose 1/20"),
        ({"cohorts": 3}, "cohorts"),
    ],
)
def test_broken_plans_say_what_is_wrong(tmp_path, change, words):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**PLAN, **change}))
    with pytest.raises(InputError, match=rf"plan\.json.*{words}"):
        read_plan(path)


def test_the_committed_plan_is_one():
    from pathlib import Path

    plan = read_plan(Path(__file__).parents[3] / "benchmarks" / "plan.json")
    assert {c.name for c in plan.cohorts} == {"internal", "external", "real"}
    for cohort in plan.cohorts:
        assert cohort.scans or cohort.grid != "4 mm" or cohort.subjects >= 12
    wanted = {"input", "oracle", "gaussian", "nlm", "map-diff", "unet", "swin-unetr", "gan", "ddpm"}
    assert wanted <= {e.method for e in plan.entries}


def test_what_is_not_trained_yet_is_left_out_and_told(work, on_tiny, tmp_path):
    missing = {"method": "gan", "model": "trained/gan.safetensors"}
    small = [COHORT | {"subjects": 1}]
    entries = [{"method": "input"}, {"method": "unet", "model": "unet.safetensors"}, missing]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**PLAN, "cohorts": small, "entries": entries, "doses": ["1/20"]}))
    said: list[str] = []
    evidence.run_evidence(path, work, tmp_path / "r.json", None, None, False, said.append)
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["left out, not trained yet"] == ["gan"] and "not trained yet: gan" in said[0]
    assert {row["method"] for row in content["rows"]} == {"input", "unet"}


def test_rows_leave_out_what_is_not_finite():
    base = {"cohort": "c", "grid": "g", "method": "input", "sampler": "", "input_dose": "1/20", "seconds": 1,
            "evaluations": 0}  # fmt: skip
    value = {
        "stage": "full",
        "form": "",
        "reference": "full",
        "metric": "psnr",
        "convention": "x",
        "unit": "dB",
    }
    records = [
        {**base, "subject": f"s{n}", "values": [{**value, "value": v}]}
        for n, v in enumerate((30.0, 32.0, float("inf")))
    ]
    row = next(r for r in rows_of(records) if r["metric"] == "psnr")
    assert row["n"] == 2 and row["mean"] == 31 and set(row["subjects"]) == {"s0", "s1"}
    one = rows_of(records[:1])
    assert next(r for r in one if r["metric"] == "psnr")["ci_low"] is None
    assert differences(one) == [] and largest_change(one, one) == (0.0, 1, [])


def test_a_page_without_markers_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(InputError, match=r"page\.md.*lacks the lines"):
        write_tables(page, "text")
    assert page.read_text() == "nothing" and tables([], []) == ""


def test_names_that_files_are_called_by():
    entry = Entry("ddpm", "m.safetensors", sampler="ddim", steps=50, samples=8)
    assert entry.sampling == "ddim-50, mean of 8" and entry.key == "ddpm-ddim-50-mean-of-8"
    seeds = [replace(Entry("unet", "m.safetensors"), seed=n).key for n in (0, 1)]
    assert seeds == ["unet", "unet-seed-1"]
    spec = CohortSpec("internal", "slabs at 1.65 mm", "quadra")
    assert spec.folder == "internal-slabs-at-1.65-mm"
    assert Plan((spec,), (entry,), (replace(spec, name="validation", seed=9),)).fractions == (
        Fraction(1, 20),
    )


def test_the_untrained_are_tuned_on_the_nearest_grid(monkeypatch, tmp_path):
    """Two validation cohorts; each scan's is tuned on the one whose voxels are as large."""
    specs = [
        CohortSpec("validation", "4 mm", "quadra", seed=1, spacing_mm=(4.0, 4.0, 4.0)),
        CohortSpec("validation", "native", "quadra", seed=2),
    ]
    plan = Plan((CohortSpec("internal", "4 mm", "quadra", seed=9),), (Entry("gaussian"),), tuple(specs))
    asked = []

    def loaded(folder, name, doses):
        edge = 4.0 if "4-mm" in str(folder) else 1.65
        volume = Volume(np.full((8, 8, 8), edge, np.float32), np.diag([edge, edge, edge, 1]), "Bq/mL")
        return TestSubject(
            name, dict.fromkeys((Fraction(1), Fraction(1, 20)), volume), volume, None, {}, None
        )

    def tuned(method, pairs, score):
        asked.append(method.name)
        return float(pairs[0][0].array.max())

    monkeypatch.setattr(tuning, "prepare", lambda spec, *_: [tmp_path / spec.folder / "sub-001"])
    monkeypatch.setattr(tuning, "load", loaded)
    monkeypatch.setattr(tuning, "tune", tuned)
    monkeypatch.setattr(tuning, "scans_hash", lambda folder: "scans")
    for _ in range(2):
        tuner = tuning.Tuner(plan, tmp_path, None, print)
        assert tuner("gaussian", Fraction(1, 20), (4.07, 4.07, 3.0)) == pytest.approx(4.0)
        assert tuner("gaussian", Fraction(1, 20), (1.65, 1.65, 1.65)) == pytest.approx(1.65)
        assert tuner("gaussian", Fraction(1, 20), (2.0, 2.0, 2.0)) == pytest.approx(1.65)
    assert asked == ["gaussian"] * 2
    other = replace(plan, validation=(replace(specs[0], subjects=2), specs[1]))
    tuning.Tuner(other, tmp_path, None, print)("gaussian", Fraction(1, 20), (4.0, 4.0, 4.0))
    assert asked == ["gaussian"] * 3
    monkeypatch.setattr(tuning, "scans_hash", lambda folder: "others")
    tuning.Tuner(plan, tmp_path, None, print)("gaussian", Fraction(1, 20), (4.0, 4.0, 4.0))
    assert asked == ["gaussian"] * 4


def test_the_number_of_processes_changes_no_figure(on_tiny, tmp_path):
    """Two processes, each with a part of the subjects, on a plan that needs neither networks nor tuning."""
    cohort = CohortSpec("internal", "4 mm", "quadra", seed=3, subjects=3)
    plan = Plan((cohort,), (Entry("input"), Entry("oracle")), ())
    alone = run.run(plan, tmp_path / "one", None, False, print)
    assert len(alone) == 6
    assert run.run(plan, tmp_path / "two", None, False, print, jobs=2) == alone
