"""Degradation matching: nested scans come out at their nominal doses, mistakes come out as errors."""

import dataclasses
import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from mapdiff.diffusion.calibration import (
    LEAST_SUBJECTS,
    Calibration,
    calibrate,
    calibration_of_models,
    measure_subject,
    nmae,
    nominal,
    nrms,
)
from mapdiff.dose import ANCHORS, DOSES, FULL
from mapdiff.errors import InputError
from synthetic import FULL_LEVEL, nested_scans, nominal_calibration, smooth_body

BODY = np.ones((24, 24, 16), bool)


def measured(measure: str = "nmae", count: int = 5, doses: tuple[Fraction, ...] = DOSES) -> list:
    """Bodies that differ in how noisy they are, as people do."""
    found = []
    for n in range(count):
        scans = nested_scans(smooth_body(seed=n) + 0.2, FULL_LEVEL * (0.7 + 0.15 * n), n, doses)
        found.append(measure_subject(scans, BODY, measure))
    return found


@pytest.fixture(scope="module", params=["nmae", "nrms"])
def calibration(request):
    return calibrate(measured(request.param), request.param)


def test_nominal_doses_are_recovered(calibration):
    assert list(calibration.anchors) == ["1/2", "1/4", "1/10", "1/20", "1/50", "1/100"]
    for label, anchor in calibration.anchors.items():
        assert anchor.dose == pytest.approx(nominal(label), rel=0.04), label
    times = [anchor.t for anchor in calibration.anchors.values()]
    assert times == sorted(times)


@pytest.mark.parametrize("measure", ["nmae", "nrms"])
def test_intervals_hold_their_time(measure):
    calibration = calibrate(measured(measure, LEAST_SUBJECTS), measure)
    for anchor in calibration.anchors.values():
        assert 1 <= anchor.t_low <= anchor.t <= anchor.t_high <= 1000
    # the lowest dose makes the curve, so it lies on it; the others are uncertain
    assert calibration.anchors["1/4"].t_low < calibration.anchors["1/4"].t_high


def test_few_subjects_have_no_interval():
    """As the statistics over subjects have none; the file says so and is read again."""
    few = calibrate(measured(count=LEAST_SUBJECTS - 1))
    assert all(anchor.interval is None for anchor in few.anchors.values())
    assert json.loads(few.to_json())["anchors"]["1/4"]["t_low"] is None
    assert Calibration.from_dict(json.loads(few.to_json())) == few


def test_the_curve_gives_the_times_back(calibration):
    for anchor in calibration.anchors.values():
        simulated = np.interp(anchor.t, calibration.grid, calibration.simulated)
        assert simulated == pytest.approx(anchor.degradation, rel=0.005)


def test_levels_and_doses(calibration):
    for label in ("1/10", "1/50"):
        level = calibration.full_level / nominal(label) ** 0.5
        assert calibration.dose_of_level(level) == pytest.approx(nominal(label), rel=0.05)
    assert calibration.dose_of_level(calibration.full_level) == pytest.approx(1)
    assert calibration.dose_of_level(calibration.full_level / 3) == calibration.dose_of_level(0.0) == 1.0
    if calibration.measure == "nmae":
        assert calibration.full_level == pytest.approx(FULL_LEVEL, rel=0.05)


def test_the_scans_of_a_measured_dose_are_found_there(calibration):
    for label, anchor in calibration.anchors.items():
        level = anchor.degradation / (1 - nominal(label)) ** 0.5
        assert calibration.dose_of_level(level) == pytest.approx(nominal(label), rel=1e-9)


def test_a_noisier_scan_is_never_of_a_higher_dose(calibration):
    levels = np.geomspace(calibration.full_level / 2, calibration.full_level * 40, 200)
    doses = [calibration.dose_of_level(level) for level in levels]
    assert all(later <= earlier for earlier, later in pairwise(doses))
    # Below the lowest dose: half the dose for each factor of sqrt(2).
    lowest = calibration.level_of("1/100")
    assert calibration.dose_of_level(lowest * 2) == pytest.approx(1 / 400)
    swapped = {**calibration.anchors, "1/2": dataclasses.replace(calibration.anchors["1/2"], degradation=9.0)}
    odd = dataclasses.replace(calibration, anchors=swapped)
    assert all(np.isfinite(odd.dose_of_level(level)) for level in levels)


def test_a_lowest_dose_that_is_bent_moves_no_other():
    """Positivity keeps the noise of the lowest dose down, and that dose draws the path's curve."""
    lowest = Fraction(1, 100)
    bent = [
        dataclasses.replace(
            subject,
            real={**subject.real, lowest: 0.8 * subject.real[lowest]},
            simulated=tuple(0.8 * value for value in subject.simulated),
        )
        for subject in measured()
    ]
    found = calibrate(bent)
    assert found.anchors["1/10"].dose < 0.75 / 10
    assert found.dose_of_level(found.level_of("1/10")) == pytest.approx(1 / 10, rel=1e-9)
    assert found.level_of("1/10") == pytest.approx(calibrate(measured()).level_of("1/10"), rel=0.02)


def test_json_round_trip(calibration, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(calibration.to_json())
    assert Calibration.read(path) == calibration


@pytest.mark.parametrize("text", ["", "not json", "{}", "[]", '{"measure": "nmae", "anchors": 3}'])
def test_other_files_are_no_calibration(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"calibration\.json.*is not a calibration"):
        Calibration.read(path)


def test_what_a_file_lacks_is_named(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text('{"grid": []}')
    with pytest.raises(InputError, match="is not a calibration: it has no 'measure'"):
        Calibration.read(path)


def test_a_model_needs_its_measure_and_all_anchors(calibration, tmp_path):
    path, calibration = tmp_path / "calibration.json", dataclasses.replace(calibration, measure="nmae")
    path.write_text(calibration.to_json())
    assert calibration_of_models(path) == calibration
    path.write_text(dataclasses.replace(calibration, measure="nrms").to_json())
    with pytest.raises(InputError, match=r"calibration\.json: is by nrms"):
        calibration_of_models(path)
    anchors = {label: anchor for label, anchor in calibration.anchors.items() if label != "1/4"}
    path.write_text(dataclasses.replace(calibration, anchors=anchors).to_json())
    with pytest.raises(InputError, match="lacks the anchor 1/4"):
        calibration_of_models(path)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="none"):
        Calibration.read(tmp_path / "none.json")


def test_swapped_doses_are_an_error():
    """What D100 taken for the full dose, or two folders exchanged, would do."""
    swap = {Fraction(1, 4): Fraction(1, 10), Fraction(1, 10): Fraction(1, 4)}
    subjects = []
    for n in range(3):
        scans = nested_scans(smooth_body(seed=n) + 0.2, seed=n)
        subjects.append(measure_subject({d: scans[swap.get(d, d)] for d in scans}, BODY))
    with pytest.raises(InputError, match=r"out of order.*swapped"):
        calibrate(subjects)


def test_a_missing_anchor_is_named():
    doses = tuple(d for d in DOSES if d != Fraction(1, 4))
    with pytest.raises(InputError, match="1/4"):
        calibrate(measured(count=2, doses=doses))


def test_subjects_may_lack_a_dose():
    lacking = measured(count=2, doses=tuple(d for d in DOSES if d != Fraction(1, 50)))
    found = calibrate([*measured(count=3), *lacking])
    assert found.subjects == 5 and found.anchors["1/50"].dose == pytest.approx(1 / 50, rel=0.3)
    for dose in ANCHORS:
        level = found.full_level / float(dose) ** 0.5
        assert found.dose_of_level(level) == pytest.approx(float(dose), rel=0.04)


@pytest.mark.parametrize("lacked", [Fraction(1, 4), Fraction(1, 10), Fraction(1, 50)])
def test_a_dose_that_only_the_quiet_have_stands_where_it_would(lacked):
    whole, some = measured(count=6), measured(count=6)
    for subject in some[2:]:
        del subject.real[lacked]
    full, part = calibrate(whole), calibrate(some)
    assert part.full_level == pytest.approx(full.full_level, rel=0.02)
    for label, anchor in full.anchors.items():
        assert part.anchors[label].dose == pytest.approx(anchor.dose, rel=0.05)
        assert part.anchors[label].degradation == pytest.approx(anchor.degradation, rel=0.04)
    # A resample without the two who have the dose says nothing of its time.
    there = part.anchors[str(lacked)]
    assert full.anchors[str(lacked)].t_low - 40 < there.t_low <= there.t <= there.t_high


@pytest.mark.parametrize("doses", [(FULL,), (Fraction(1, 2), Fraction(1, 4)), ()])
def test_a_subject_needs_the_full_dose_and_a_lower_one(doses):
    scans = nested_scans(smooth_body(), doses=doses)
    with pytest.raises(InputError, match="full dose"):
        measure_subject(scans, BODY)


def test_measures_do_not_depend_on_the_unit_and_only_on_the_body():
    scans = nested_scans(smooth_body() + 0.2)
    body = BODY.copy()
    body[:8] = False
    one = measure_subject(scans, body)
    scaled = measure_subject({d: 4000 * y for d, y in scans.items()}, body)
    for dose, value in one.real.items():
        assert scaled.real[dose] == pytest.approx(value, rel=1e-4)
    outside = {d: y.copy() for d, y in scans.items()}
    for y in outside.values():
        y[:8] = 99
    assert measure_subject(outside, body).real == one.real


def test_measures_by_hand():
    x, y = np.array([1.0, 3.0]), np.array([2.0, 1.0])
    assert nmae(y, x) == pytest.approx(3 / 4)
    assert nrms(y, x) == pytest.approx((2.5**0.5) / 2)


def test_the_same_seed_gives_the_same_interval():
    subjects = measured(count=3)
    assert calibrate(subjects, seed=4) == calibrate(subjects, seed=4)


def test_a_level_on_larger_voxels_or_under_a_filter_is_brought_to_the_cohorts():
    calibration = dataclasses.replace(nominal_calibration(), grain_mm3=100.0)
    level = calibration.full_level / 0.05**0.5
    assert calibration.dose_of_level(level, 100.0) == pytest.approx(0.05)
    # Four times the grain at half the level is the same noise.
    assert calibration.dose_of_level(level / 2, 400.0) == pytest.approx(0.05)
    assert calibration.dose_of_level(level / 2) == pytest.approx(0.2)
