"""A simulated cohort in the real cohort's tree, and from there through `ingest`."""

import json
from fractions import Fraction

import numpy as np
import pytest

from mapdiff.cohort.ingest import INGESTED, ingest
from mapdiff.cohort.layout import dose_path
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.simulate.cohort import CohortPlan, plan_facts, simulate_cohort
from mapdiff.simulate.udpet_tree import MARKER, simulate_tree, subject_folder

FULL = Fraction(1)
DOSES = (FULL, Fraction(1, 4), Fraction(1, 20))
PLAN = CohortPlan(1, "uexplorer", 3, (8.0, 8.0, 8.0), 8, DOSES)


def test_folders_are_named_as_the_real_ones():
    assert str(subject_folder("quadra", 5)) == "Subject_4-6/03012000_5_20000103_100000"
    assert str(subject_folder("uexplorer", 22)) == "uExplorerPART2/Anonymous_ANO_20000104_0000022_083000"
    with pytest.raises(InputError, match="--layout udpet"):
        subject_folder("varied", 1)


def test_the_tree_holds_the_cohort_and_ingest_reads_it(tmp_path):
    told = []
    left = tmp_path / "tree" / subject_folder("uexplorer", 1)
    left = left.with_name(f".aside-0123abcd-{left.name}") / ".simulated"  # by a run that was killed
    left.mkdir(parents=True)
    (tmp_path / "tree" / MARKER).write_text(json.dumps(plan_facts(PLAN)))
    (folder,) = simulate_tree(PLAN, tmp_path / "tree", lambda name, made: told.append((name, made)))
    names = {"2.886 x 600 WB NORMAL", "2.886 x 600 WB D4", "2.886 x 600 WB D20"}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}  # nothing is left of either run
    simulate_cohort(PLAN, tmp_path / "bids")
    (entry,) = ingest(tmp_path / "tree", tmp_path / "cohort", DOSES)
    assert entry.status == INGESTED, entry.faults
    for dose in DOSES:
        ours = read(dose_path(tmp_path / "bids" / "sub-001", "sub-001", dose))
        back = read(dose_path(tmp_path / "cohort" / "sub-001", "sub-001", dose))
        # scanners write i to the left and j to the back: turned, each voxel is where it was
        tolerance = np.abs(ours.array).max() / 60000
        np.testing.assert_allclose(back.array[::-1, ::-1], ours.array, atol=tolerance)
        place = back.affine @ [back.shape[0] - 1, back.shape[1] - 1, 2, 1]
        np.testing.assert_allclose(place, ours.affine @ [0, 0, 2, 1], atol=1e-3)
        assert back.acquisition.suv_per_bqml == pytest.approx(ours.acquisition.suv_per_bqml, rel=1e-5)
    # a second run makes nothing again; another plan is refused
    simulate_tree(PLAN, tmp_path / "tree", lambda name, made: told.append((name, made)))
    assert told == [("sub-001", True), ("sub-001", False)]
    with pytest.raises(InputError, match="other parameters"):
        simulate_tree(CohortPlan(1, "uexplorer", 4, PLAN.spacing_mm, 8, DOSES), tmp_path / "tree")
