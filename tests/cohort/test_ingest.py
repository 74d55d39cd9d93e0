"""Training trees of both scanners into a cohort: doses in order, what is odd reported, nobody named."""

import gzip
import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mapdiff.cli.ingest import ingest as ingest_verb
from mapdiff.cohort import ingest as ingest_module
from mapdiff.cohort.ingest import INGESTED, LEFT_OUT, NAMES_FILE, REPORT_FILE, ingest
from mapdiff.cohort.layout import dose_path, doses_of, sidecar_path, subjects
from mapdiff.cohort.subject import load_subject
from mapdiff.dose import DOSES
from mapdiff.errors import InputError, PartialFailure
from mapdiff.formats import read
from udpet_scans import (
    DRF,
    FACTS,
    FULL,
    IDENTITY,
    QUADRA_FOLDER,
    QUADRA_NAMES,
    UEXPLORER_DRF_FOLDER,
    UEXPLORER_DRF_NAMES,
    UEXPLORER_FOLDER,
    UEXPLORER_NAMES,
    small_scans,
    write_tree_subject,
)

FEW = (FULL, DRF[4], DRF[20])


def assert_nobody_named(cohort: Path, *texts: str) -> None:
    told = "\n".join(texts) + "\n".join(str(p.relative_to(cohort)) for p in cohort.rglob("*"))
    for path in cohort.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            if path.suffix == ".gz":
                raw = gzip.decompress(raw)
            told += raw.decode("latin-1")
    for word in (*IDENTITY, "19610203", "Elm Street", "20220224", "20211230"):
        assert word.lower() not in told.lower(), word


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A tree of both scanners, three ways to name the doses, ingested; (source, cohort, scans, log)."""
    root = tmp_path_factory.mktemp("udpet")
    tree = root / "tree"
    scans = [small_scans(seed) for seed in range(3)]
    write_tree_subject(tree / QUADRA_FOLDER, QUADRA_NAMES, scans[0], ending=".IMA")
    united = replace(FACTS, manufacturer="UIH", model="uEXPLORER")
    write_tree_subject(tree / UEXPLORER_FOLDER, UEXPLORER_NAMES, scans[1], united)
    write_tree_subject(tree / UEXPLORER_DRF_FOLDER, UEXPLORER_DRF_NAMES, scans[2], united)
    log = []
    entries = ingest(tree, root / "cohort", on_subject=lambda e, n, of: log.append("\n".join(e.lines())))
    return tree, root / "cohort", scans, entries, log


def test_the_doses_of_both_scanners_come_in_the_right_order(both):
    _, cohort, scans, entries, _ = both
    assert [entry.status for entry in entries] == [INGESTED] * 3, entries
    assert [entry.scanner for entry in entries] == ["quadra", "uexplorer", "uexplorer"]
    assert [folder.name for folder in subjects(cohort)] == ["sub-001", "sub-002", "sub-003"]
    for folder, truth in zip(subjects(cohort), scans, strict=True):
        found = doses_of(folder)
        assert tuple(found) == DOSES
        for dose, path in found.items():
            volume = read(path)
            # DICOM turns nothing: the volume has the voxels it had, rounded by half a slope step
            np.testing.assert_allclose(volume.array, truth[dose], atol=truth[dose].max() / 60000)
            assert volume.unit == "Bq/mL"
            assert volume.acquisition.weight_kg == 68 and volume.acquisition.suv_per_bqml is not None
        assert json.loads(sidecar_path(found[DRF[100]]).read_text())["DoseReductionFactor"] == 100


def test_the_noise_in_the_report_rises_as_the_dose_falls(both):
    _, cohort, _, _, _ = both
    report = json.loads((cohort / REPORT_FILE).read_text())
    assert report["ingested"] == 3 and report["left_out"] == 0
    for subject in report["subjects"]:
        noise = [subject["noise"][f"1/{n}"] for n in (2, 4, 10, 20, 50, 100)]
        assert noise == sorted(noise)
        # nested doses: the residual's variance goes as 1/d - 1
        np.testing.assert_allclose(np.array(noise) / noise[0], np.sqrt([1, 3, 9, 19, 49, 99]), rtol=0.1)


def test_training_reads_the_cohort(both):
    _, cohort, _, _, _ = both
    subject = load_subject(subjects(cohort)[0])
    assert subject.doses == DOSES and not subject.has_truth
    assert subject.scans.shape[0] == 7 and subject.body.any()


def test_nobody_is_named(both):
    _, cohort, _, _, log = both
    assert_nobody_named(cohort, *log)


def test_a_second_run_reads_nothing_again(both, monkeypatch):
    tree, cohort, _, _, _ = both
    monkeypatch.setattr(ingest_module, "read", lambda path: pytest.fail("read again"))
    entries = ingest(tree, cohort)
    assert all(entry.earlier and entry.status == INGESTED for entry in entries)


def test_new_subjects_get_new_numbers_and_a_stopped_run_goes_on(tmp_path):
    tree, cohort = tmp_path / "tree", tmp_path / "cohort"
    for n in (2, 4):
        write_tree_subject(tree / f"part/{n}", QUADRA_NAMES, small_scans(n, FEW))

    def stop(entry, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(tree, cohort, FEW, on_subject=stop)
    assert [s.name for s in subjects(cohort)] == ["sub-001"]
    (cohort / REPORT_FILE).unlink()  # as if it had stopped before the report
    first = read(dose_path(cohort / "sub-001", "sub-001", FULL)).array
    write_tree_subject(tree / "part/1", QUADRA_NAMES, small_scans(1, FEW))
    entries = ingest(tree, cohort, FEW)
    assert [(e.subject, e.earlier) for e in entries] == [
        ("sub-002", False),  # part/1, which came later
        ("sub-001", True),
        ("sub-003", False),
    ]
    np.testing.assert_array_equal(read(dose_path(cohort / "sub-001", "sub-001", FULL)).array, first)
    assert len(json.loads((cohort / REPORT_FILE).read_text())["subjects"]) == 3


def test_names_of_another_source_are_kept(tmp_path):
    cohort = tmp_path / "cohort"
    for part in ("one", "two"):
        write_tree_subject(
            tmp_path / part / "person", QUADRA_NAMES, small_scans(len(part) + ord(part[0]), FEW)
        )
        ingest(tmp_path / part, cohort, FEW, keep_names=True)
    names = json.loads((cohort / NAMES_FILE).read_text())
    assert names == {"sub-001": "person", "sub-002": "person"}


def test_a_broken_copy_does_not_keep_a_whole_one_out(tmp_path):
    """An interrupted download, fetched again beside the first; the same on every further run."""
    tree, cohort = tmp_path / "tree", tmp_path / "cohort"
    scans = small_scans(1, FEW)
    write_tree_subject(tree / "part/1", QUADRA_NAMES, {d: scans[d] for d in FEW[:-1]})
    write_tree_subject(tree / "part/2", QUADRA_NAMES, scans)
    assert sorted(e.status for e in ingest(tree, cohort, FEW)) == [INGESTED, LEFT_OUT]
    for _ in range(2):
        entries = ingest(tree, cohort, FEW)
        assert sorted(e.status for e in entries) == [INGESTED, LEFT_OUT]
        assert len(list(subjects(cohort))) == 1


def test_a_damaged_report_is_told(tmp_path):
    tree, cohort = tmp_path / "tree", tmp_path / "cohort"
    write_tree_subject(tree / "part/1", QUADRA_NAMES, small_scans(1, FEW))
    ingest(tree, cohort, FEW)
    for text in ('{"subjects": [1]}', '{"subjects": [{"key": "x"}]}'):
        (cohort / REPORT_FILE).write_text(text)
        with pytest.raises(InputError, match="is no report of mapdiff ingest"):
            ingest(tree, cohort, FEW)


def swapped(scans, one: Fraction, other: Fraction):
    return {**scans, one: scans[other], other: scans[one]}


def truncate(folder: Path, name: str) -> None:
    file = sorted((folder / name).iterdir())[3]
    file.write_bytes(file.read_bytes()[:-300])


def set_weight(kg):
    return lambda ds, dose: setattr(ds, "PatientWeight", kg)


def set_half_life(ds, dose):
    ds.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife = "4062.6"


def set_tracer(ds, dose):
    ds.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = "DOTA"


def moved(ds, dose):
    if dose == DRF[20]:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [float(x) + 4, y, z]


def counts(ds, dose):
    if dose == DRF[20]:
        ds.Units = "PROPCNTS"


def nothing(scans):
    return scans


#: name: (change of the scans, edit of the headers, change of the folder, words of the fault)
SPOILT = {
    "lowest taken for full": (lambda s: swapped(s, FULL, DRF[20]), None, None, "wrong order of doses"),
    "two doses swapped": (lambda s: swapped(s, DRF[4], DRF[20]), None, None, "wrong order of doses"),
    "a copy of the full dose": (lambda s: {**s, DRF[4]: s[FULL]}, None, None, "1/4 is a copy"),
    "another unit": (
        lambda s: {**s, DRF[20]: s[DRF[20]] / 1000},
        None,
        None,
        "0.00101 times the full dose's",
    ),
    "another body": (lambda s: {**s, DRF[20]: s[DRF[20]][::-1, ::-1]}, None, None, "shows another body"),
    "another size": (lambda s: {**s, DRF[20]: s[DRF[20]][:, :18]}, None, None, "another grid"),
    "a moved grid": (nothing, moved, None, "dose 1/20: another grid.*4.00 mm"),
    "unit not known": (nothing, counts, None, "dose 1/20: its unit is unknown"),
    "Ga-68 labelled FDG": (nothing, set_half_life, None, "half-life of 4062.6 s is not that of F-18"),
    "another tracer": (nothing, set_tracer, None, "DOTA, not FDG"),
    "truncated": (nothing, None, lambda f: truncate(f, "1-4 dose"), "dose 1/4: its pixels are truncated"),
    "full dose missing": (nothing, None, lambda f: shutil.rmtree(f / "Full_dose"), "full dose is missing"),
    "a dose missing": (nothing, None, lambda f: shutil.rmtree(f / "1-20 dose"), "missing doses: 1/20"),
    "an empty dose": (
        nothing,
        None,
        lambda f: [file.unlink() for file in (f / "1-20 dose").iterdir()],
        "dose 1/20: is empty",
    ),
    "a dose twice": (nothing, None, lambda f: shutil.copytree(f / "1-4 dose", f / "D4"), "2 folders claim"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_subject_is_left_out_with_the_reason(case, tmp_path):
    change, edit, after, words = SPOILT[case]
    folder = tmp_path / "tree" / QUADRA_FOLDER
    edits = {"edit": edit} if edit else {}
    write_tree_subject(folder, QUADRA_NAMES, change(small_scans(1, FEW)), **edits)
    if after is not None:
        after(folder)
    log = []
    (entry,) = ingest(
        tmp_path / "tree", tmp_path / "c", FEW, on_subject=lambda e, *_: log.append("\n".join(e.lines()))
    )
    assert entry.status == LEFT_OUT
    assert re.search(words, "\n".join(entry.faults)), entry.faults
    assert not list((tmp_path / "c").glob("sub-*"))
    assert_nobody_named(tmp_path / "c", *log)


ODD = {
    "heavy": (set_weight("250"), "weight of 250 kg is out of range"),
    "absurd": (set_weight("6800"), "PatientWeight"),
    "no weight": (set_weight(""), "PatientWeight"),
    "differing": (
        lambda ds, dose: setattr(ds, "PatientWeight", "68" if dose == FULL else "70"),
        r"the weight differs between the doses \(see 1/4, 1/20\)",
    ),
    "little activity": (
        lambda ds, dose: setattr(
            ds.RadiopharmaceuticalInformationSequence[0], "RadionuclideTotalDose", "2e7"
        ),
        "injected activity of 20 MBq is out of range",
    ),
    "short": (lambda ds, dose: None, "covers 48 mm only"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_subject_is_kept_with_a_note(case, tmp_path):
    edit, words = ODD[case]
    write_tree_subject(tmp_path / "t" / "s", QUADRA_NAMES, small_scans(1, FEW), edit=edit)
    (entry,) = ingest(tmp_path / "t", tmp_path / "c", FEW)
    assert entry.status == INGESTED
    assert re.search(words, "\n".join(entry.notes)), entry.notes


def test_the_verb_goes_on_after_a_bad_subject_and_tells_it(tmp_path, capsys):
    tree = tmp_path / "tree"
    for n in (1, 2):
        write_tree_subject(tree / f"QUIXOTE_{n}", QUADRA_NAMES, small_scans(n, FEW))
    truncate(tree / "QUIXOTE_1", "Full_dose")
    shutil.copytree(tree / "QUIXOTE_2", tree / "QUIXOTE_3")
    with pytest.raises(PartialFailure, match="2 of 3 subjects were left out: sub-001, sub-003"):
        ingest_verb(tree, tmp_path / "c", "full,1/4,1/20")
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "c")
    assert "sub-001: left out" in said.err and "dose full: its pixels are truncated" in said.err
    assert "sub-003: left out" in said.err and "holds the same scans as sub-002" in said.err
    assert [s.name for s in subjects(tmp_path / "c")] == ["sub-002"]
    assert_nobody_named(tmp_path / "c", said.err.replace(str(tmp_path), ""))
    # names are kept only when asked for
    with pytest.raises(PartialFailure):
        ingest_verb(tree, tmp_path / "c", "full,1/4,1/20", keep_names=True)
    names = json.loads((tmp_path / "c" / "source_names.json").read_text())
    assert names["sub-002"] == "QUIXOTE_2"


def test_what_cannot_be_ingested_at_all_is_refused(tmp_path):
    tree = tmp_path / "tree"
    write_tree_subject(tree / "s", QUADRA_NAMES, small_scans(1, FEW))
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    for source, cohort, doses, words in (
        (tmp_path / "none", tmp_path / "c", FEW, "is not there"),
        (tmp_path / "empty", tmp_path / "c", FEW, "no subject of a UDPET"),
        (tree, tree / "cohort", FEW, "lies in the source"),
        (tree, tmp_path / "full", FEW, "exists already"),
        (tree, tmp_path / "c", (FULL,), "one lower dose"),
    ):
        with pytest.raises(InputError, match=words):
            ingest(source, cohort, doses)
    assert not (tmp_path / "c").exists()
    ingest(tree, tmp_path / "c", FEW)
    with pytest.raises(InputError, match="other doses"):
        ingest(tree, tmp_path / "c", (FULL, DRF[20]))
