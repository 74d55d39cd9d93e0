"""The observer's part of the benchmark, on blobs in noise."""

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark import observing
from mapdiff.evaluation.benchmark.detection import Pair
from mapdiff.evaluation.benchmark.document import tables
from mapdiff.evaluation.benchmark.plan import DetectionSpec, Entry
from mapdiff.evaluation.benchmark.restore import Restorer
from mapdiff.volume import Volume

SPEC = DetectionSpec("quadra", seed=5, contrast=0.5, pairs=60)


@pytest.fixture
def blobs(monkeypatch):
    """Balls in correlated noise; every third body has no room."""
    calls = []

    def simulate(scanner, dose, contrast, seed, number, spacing_mm, slices):
        calls.append(number)
        if number % 3 == 2:
            return None
        rng = np.random.default_rng([seed, number])
        places = tuple((i, j, 8) for i in (8, 24, 40) for j in (8, 24, 40))
        scans = []
        for signal in (contrast, 0.0):
            image = 5 + 2 * rng.standard_normal((48, 48, 17)).astype(np.float32)
            for i, j, k in places:
                image[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] += signal
            scans.append(Volume(image, np.diag([4.0, 4, 4, 1]), "Bq/mL"))
        return Pair(scans[0], scans[1], places)

    monkeypatch.setattr(observing, "simulate_pair", simulate)
    return calls


def restorers(work, *names, width=0.01):
    entries = [Entry(name) for name in names]
    return {entry: Restorer(entry, work, lambda method, dose, spacing: width) for entry in entries}


def test_the_input_and_a_method_that_changes_nothing_agree(blobs, tmp_path):
    found = restorers(tmp_path, "input", "gaussian")
    said = []
    rows, paired = observing.observe(SPEC, found, tmp_path, said.append)
    assert {row["method"] for row in rows} == {"input", "gaussian"}
    for row in rows:
        assert row["n"] == 60 and 0.55 < row["ci_low"] < row["mean"] < row["ci_high"] < 1
    assert rows[0]["mean"] == pytest.approx(rows[1]["mean"], abs=1e-3)
    assert len(paired) == 1 and not paired[0]["clear_of_zero"]
    text = tables(rows, paired)
    assert "Detectability" in text and text.count("| 60 |") == 2 and "internal" not in text

    before, restored = len(blobs), len(said)
    again = observing.observe(SPEC, found, tmp_path, said.append)
    assert again == (rows, paired)
    assert len(blobs) == before and len(said) == restored  # nothing is simulated or restored twice


def test_a_method_that_hides_the_lesions_loses(blobs, tmp_path):
    found = restorers(tmp_path, "input", "gaussian", width=400.0)
    _, paired = observing.observe(SPEC, found, tmp_path, lambda line: None)
    assert paired[0]["clear_of_zero"] and paired[0]["ci_high"] < -0.02


def test_other_weights_are_shown_anew(blobs, tmp_path, monkeypatch):
    found = restorers(tmp_path, "input")
    observing.observe(SPEC, found, tmp_path, lambda line: None)
    monkeypatch.setattr(Restorer, "fingerprint", lambda *_: "other")
    said = []
    observing.observe(SPEC, found, tmp_path, said.append)
    assert said and all("input" in line for line in said)


def test_livers_without_room(tmp_path, monkeypatch):
    monkeypatch.setattr(observing, "simulate_pair", lambda *_: None)
    with pytest.raises(InputError, match="no room for 2 lesions"):
        observing.observe(
            DetectionSpec("quadra", 1, 0.5, pairs=2), restorers(tmp_path, "input"), tmp_path, print
        )
