"""The store gives back what was packed, whole subjects or none, and does only what is missing."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import zarr

from mapdiff.cohort import pack as packing
from mapdiff.cohort.check import check_cohort
from mapdiff.cohort.layout import (
    COHORT_FILE,
    SUBJECT_FILE,
    dose_path,
    doses_of,
    subjects,
    truth_path,
    write_image,
)
from mapdiff.cohort.pack import KEPT, LEFT_OUT, LOCK_FILE, PACKED, pack
from mapdiff.cohort.store import BLOCK, CHUNK, SHARD, body_blocks, is_store, store_subjects
from mapdiff.cohort.subject import load_subject
from mapdiff.diffusion.calibration import measure_subject
from mapdiff.dose import DOSES, dose_label
from mapdiff.errors import InputError
from mapdiff.formats import read
from other_process import holding
from synthetic import nested_scans, smooth_body, volume_of


@pytest.fixture(scope="module")
def store(tiny_cohort, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "tiny.zarr"
    assert [entry.status for entry in pack(tiny_cohort, path, jobs=1)] == [PACKED] * 3
    return path


@pytest.fixture
def cohort(tiny_cohort, tmp_path) -> Path:
    """A copy of the cohort, to be spoiled."""
    return shutil.copytree(tiny_cohort, tmp_path / "cohort")


def whole(subject):
    return tuple(slice(0, n) for n in subject.facts.shape)


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_stored_subject_is_the_subject(store, tiny_cohort):
    for stored, folder in zip(store_subjects(store), subjects(tiny_cohort), strict=True):
        scans = load_subject(folder)
        images = stored.read(whole(stored))
        assert images.dtype == np.float16
        np.testing.assert_array_equal(images[:-1], scans.scans)
        np.testing.assert_array_equal(images[-1], scans.target)
        facts = stored.facts
        assert stored.doses == DOSES and facts.spacing_mm == scans.spacing_mm and facts.has_truth
        assert facts.body_voxels == scans.body.sum() and facts.unit == "Bq/mL"
        measured = measure_subject(scans.by_dose(), scans.body)
        assert facts.degradation["nmae"]["real"] == {dose_label(d): v for d, v in measured.real.items()}
        assert tuple(facts.degradation["nmae"]["simulated"]) == measured.simulated


def test_a_store_errs_by_less_than_a_thousandth_of_suv(store, tiny_cohort):
    """0.049 % of the value, or 3e-8 of the body's mean where that is more."""
    for stored, folder in zip(store_subjects(store), subjects(tiny_cohort), strict=True):
        box = tuple(slice(o, o + n) for o, n in zip(stored.facts.origin, stored.facts.shape, strict=True))
        images = stored.read(whole(stored)).astype(np.float64) * stored.facts.scale
        for image, path in zip(images[:-1], doses_of(folder).values(), strict=True):
            real = read(path).array[box].astype(np.float64)
            allowed = np.maximum(2.0**-11 * 1.001 * np.abs(real), 3e-8 * stored.facts.scale)
            assert (np.abs(image - real) <= allowed).all()


def test_any_box_is_that_box(store):
    stored = store_subjects(store)[0]
    everything = stored.read(whole(stored))
    rng = np.random.default_rng(0)
    for _ in range(10):
        start = [int(rng.integers(0, n - 1)) for n in stored.facts.shape]
        box = tuple(
            slice(s, int(rng.integers(s + 1, n + 1))) for s, n in zip(start, stored.facts.shape, strict=True)
        )
        np.testing.assert_array_equal(stored.read(box), everything[(slice(None), *box)])


def test_larger_than_a_shard_it_is_still_the_subject(tmp_path):
    """A long thin body, several shards along k, and air that is exactly zero."""
    shape = (12, 12, SHARD + 40)
    z = smooth_body(shape)
    z[:, :, 100:120] = 0
    folder = tmp_path / "c" / "sub-001"
    for dose, scan in nested_scans(z).items():
        write_image(volume_of(3000 * scan), dose_path(folder, "sub-001", dose))
    (folder / SUBJECT_FILE).write_text("{}")
    (tmp_path / "c" / COHORT_FILE).write_text("{}")
    (entry,) = pack(tmp_path / "c", tmp_path / "s", jobs=1)
    assert entry.status == PACKED
    (stored,) = store_subjects(tmp_path / "s")
    scans = load_subject(folder)
    np.testing.assert_array_equal(stored.read(whole(stored))[:-1], scans.scans)
    assert not stored.facts.has_truth
    np.testing.assert_array_equal(stored.read(whole(stored))[-1], scans.scans[0])
    assert len(list((tmp_path / "s" / "sub-001" / "scans").rglob("c/*/*/*/*"))) == 2


def test_all_images_of_a_place_lie_in_one_chunk(store):
    array = zarr.open_array(store / "sub-001" / "scans", mode="r")
    assert array.chunks == (len(DOSES) + 1, CHUNK, CHUNK, CHUNK) and array.metadata.zarr_format == 3
    # A patch of edge P at any place touches (P - 1) / CHUNK + 1 chunks along an axis on average.
    for edge in (48, 64):
        assert (((edge - 1) / CHUNK + 1) * CHUNK / edge) ** 3 < 4


def test_blocks_count_the_body(store, tiny_cohort):
    for stored, folder in zip(store_subjects(store), subjects(tiny_cohort), strict=True):
        body = load_subject(folder).body
        blocks = stored.body_blocks()
        np.testing.assert_array_equal(blocks, body_blocks(body))
        assert blocks[:, 3].sum() == body.sum()
        for i, j, k, count in blocks.astype(int):
            at = tuple(slice(n * BLOCK, (n + 1) * BLOCK) for n in (i, j, k))
            assert body[at].sum() == count > 0


def test_again_nothing_is_done(store, tiny_cohort):
    before = files_of(store)
    assert [entry.status for entry in pack(tiny_cohort, store, jobs=1)] == [KEPT] * 3
    assert files_of(store) == before


def test_touched_files_of_the_same_content_are_the_same(cohort, tmp_path):
    pack(cohort, tmp_path / "s", jobs=1)
    dose_path(cohort / "sub-002", "sub-002", Fraction(1, 4)).touch()
    assert {entry.status for entry in pack(cohort, tmp_path / "s", jobs=1)} == {KEPT}


def test_a_changed_subject_is_packed_again(cohort, tmp_path):
    pack(cohort, tmp_path / "s", jobs=1)
    for dose, scan in nested_scans(smooth_body(seed=9), seed=9).items():
        write_image(volume_of(2000 * scan), dose_path(cohort / "sub-002", "sub-002", dose))
    truth = truth_path(cohort / "sub-002", "sub-002", "noisefree")
    write_image(volume_of(2000 * smooth_body(seed=9)), truth)
    assert [e.status for e in pack(cohort, tmp_path / "s", jobs=1)] == [KEPT, PACKED, KEPT]
    stored = store_subjects(tmp_path / "s")[1]
    np.testing.assert_array_equal(stored.read(whole(stored))[:-1], load_subject(cohort / "sub-002").scans)


def test_stopped_and_run_again_it_does_only_the_rest(cohort, tmp_path, monkeypatch):
    """Killed while the second subject is half written: the first is kept, of the second nothing counts."""
    write_subject = packing.write_subject

    def dying(folder, scans, facts):
        write_subject(folder, scans, facts)
        if scans.name == "sub-002":
            shutil.rmtree(folder / "blocks")
            shutil.copytree(folder, folder.parent / ".aside-0-sub-002")  # as SIGKILL would leave it
            raise KeyboardInterrupt

    store = tmp_path / "s"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packing, "write_subject", dying)
        pack(cohort, store, jobs=1)
    assert [s.facts.name for s in store_subjects(store)] == ["sub-001"]
    before = files_of(store / "sub-001")
    assert [e.status for e in pack(cohort, store, jobs=1)] == [KEPT, PACKED, PACKED]
    assert files_of(store / "sub-001") == before
    assert not list(store.glob(".aside-*"))


def test_processes_give_the_same_store(store, tiny_cohort, tmp_path):
    entries = pack(tiny_cohort, tmp_path / "tiny.zarr", jobs=2)
    assert [(e.subject, e.status) for e in entries] == [(f"sub-00{n}", PACKED) for n in (1, 2, 3)]
    one, other = files_of(store), files_of(tmp_path / "tiny.zarr")
    assert {n: content for n, (_, content) in one.items()} == {
        n: content for n, (_, content) in other.items()
    }


def test_a_subject_with_a_fault_is_left_out(cohort, tmp_path):
    dose_path(cohort / "sub-002", "sub-002", Fraction(1, 4)).write_bytes(b"")
    entries = pack(cohort, tmp_path / "s", jobs=1)
    assert [e.status for e in entries] == [PACKED, LEFT_OUT, PACKED]
    assert "drf4" in entries[1].faults[0] and "is empty" in entries[1].faults[0]
    assert [s.facts.name for s in store_subjects(tmp_path / "s")] == ["sub-001", "sub-003"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_name_that_tells_no_dose_leaves_that_subject_out(cohort, tmp_path, jobs):
    path = dose_path(cohort / "sub-002", "sub-002", Fraction(1, 4))
    shutil.copy(path, path.with_name("sub-002_rec-osem_pet.nii.gz"))
    entries = pack(cohort, tmp_path / "s", jobs=jobs)
    assert [e.status for e in entries] == [PACKED, LEFT_OUT, PACKED]
    assert "sub-002_rec-osem_pet.nii.gz: its name tells no dose" in entries[1].faults[0]
    assert [check.faults for check in check_cohort(cohort)] == [[], entries[1].faults, []]


def test_a_subject_of_one_dose_is_left_out(cohort, tmp_path):
    for dose in DOSES[1:]:
        dose_path(cohort / "sub-002", "sub-002", dose).unlink()
    facts = cohort / "sub-002" / SUBJECT_FILE
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "doses": ["full"]}))
    entries = pack(cohort, tmp_path / "s", jobs=1)
    assert [e.status for e in entries] == [PACKED, LEFT_OUT, PACKED]
    assert "sub-002: has no scan of a lower dose" in entries[1].faults[0]


def test_two_processes_do_not_pack_into_one_store(cohort, tmp_path):
    """One would remove what the other is just writing."""
    pack(cohort, tmp_path / "s", jobs=1)
    lock = tmp_path / "s" / LOCK_FILE
    with holding(lock, "packs"), pytest.raises(InputError, match="another process packs"):
        pack(cohort, tmp_path / "s", jobs=1)
    assert {entry.status for entry in pack(cohort, tmp_path / "s", jobs=1)} == {KEPT}


def test_a_subject_may_lack_doses(cohort, tmp_path):
    dose_path(cohort / "sub-002", "sub-002", Fraction(1, 50)).unlink()
    assert {e.status for e in pack(cohort, tmp_path / "s", jobs=1)} == {PACKED}
    stored = store_subjects(tmp_path / "s")[1]
    assert stored.doses == tuple(d for d in DOSES if d != Fraction(1, 50))
    assert len(stored.read(whole(stored))) == len(DOSES)


def test_a_folder_that_holds_something_else_is_left_alone(tiny_cohort, store, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a cohort store"):
        pack(tiny_cohort, tmp_path, jobs=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    other = shutil.copytree(tiny_cohort, tmp_path / "other")
    with pytest.raises(InputError, match="another cohort"):
        pack(other, store, jobs=1)


def test_subjects_that_left_the_cohort_are_told(cohort, tmp_path):
    pack(cohort, tmp_path / "s", jobs=1)
    shutil.rmtree(cohort / "sub-003")
    with pytest.raises(InputError, match="sub-003"):
        pack(cohort, tmp_path / "s", jobs=1)


@pytest.mark.parametrize("place", ["/proc/store", "below"])
def test_a_place_that_cannot_be_written_is_named(tiny_cohort, tmp_path, place):
    if place == "below":
        (tmp_path / "file").write_text("")
        place = tmp_path / "file" / "store"
    with pytest.raises(InputError, match=r"store: (cannot be written|exists)"):
        pack(tiny_cohort, Path(place), jobs=1)


def test_what_is_no_store_is_no_store(tmp_path, store):
    assert is_store(store) and not is_store(tmp_path) and not is_store(store / "sub-001" / "scans")
    with pytest.raises(InputError, match="not a cohort store"):
        store_subjects(tmp_path)
    copy = shutil.copytree(store, tmp_path / "copy")
    meta = json.loads((copy / "zarr.json").read_text())
    meta["attributes"]["version"] = 99
    (copy / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="version 99"):
        store_subjects(copy)
