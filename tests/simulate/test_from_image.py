"""A lower dose of a given scan."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import mapdiff
from mapdiff.cohort.layout import doses_of, subjects
from mapdiff.dose import FULL
from mapdiff.errors import InputError
from mapdiff.simulate.cohort import simulate_from_image
from mapdiff.simulate.from_image import lower_dose, water_map
from mapdiff.simulate.scanner import UEXPLORER
from synthetic import smooth_body, volume_of

LOW = Fraction(1, 20)
SCANNER = replace(UEXPLORER, angles=32, subsets=8)


@pytest.fixture
def scan():
    volume = volume_of(4000 * smooth_body())
    facts = replace(volume.acquisition, frame_s=300.0, tracer="FDG", suv_per_bqml=1 / 4000)
    return replace(volume, acquisition=facts)


def test_a_cohort_of_one_subject_is_written(scan, tmp_path):
    source = tmp_path / "scan.nii.gz"
    mapdiff.write(scan, source)
    written = simulate_from_image(source, tmp_path / "out", (LOW,), "quadra", 1)
    (subject,) = subjects(tmp_path / "out")
    paths = doses_of(subject)
    assert list(paths) == [FULL, LOW] and set(written.paths) == set(paths.values())
    images = {dose: mapdiff.read(path) for dose, path in paths.items()}
    for image in images.values():
        assert image.shape == scan.shape and image.unit == "Bq/mL"
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
    inside = scan.array > 2000
    full, low = images[FULL].array[inside], images[LOW].array[inside]
    assert full.mean() == pytest.approx(scan.array[inside].mean(), rel=0.1)
    assert low.mean() == pytest.approx(full.mean(), rel=0.1)
    assert np.abs(low - full).mean() > np.abs(full - scan.array[inside]).mean() / 4
    with pytest.raises(InputError, match="exists already"):
        simulate_from_image(source, tmp_path / "out", (LOW,), "quadra", 1)


def test_a_body_that_leaves_the_field_of_view_attenuates_to_its_ends():
    i, j = np.mgrid[:40, :40]
    disc = np.square((i - 20) / 12) + np.square((j - 20) / 16) < 1
    mu = water_map(volume_of(np.repeat(4000 * disc[:, :, None].astype(np.float32), 12, axis=2)))
    assert mu.max() > 0 and (mu > 0)[:, :, 6].sum() == pytest.approx(disc.sum(), rel=0.15)
    assert all(np.array_equal(mu[:, :, k], mu[:, :, 6]) for k in range(12))


def test_a_seed_decides_and_an_unknown_header_is_told(scan):
    bare = volume_of(smooth_body(), "unknown")
    one, again, other = (lower_dose(bare, SCANNER, (LOW,), seed) for seed in (1, 1, 2))
    assert one.doses[LOW].array.tobytes() == again.doses[LOW].array.tobytes()
    assert one.doses[LOW].array.tobytes() != other.doses[LOW].array.tobytes()
    assert len(one.assumed) == 2 and one.doses[LOW].unit == "unknown"
    assert lower_dose(scan, SCANNER, (LOW,), 1).assumed == ()


def test_suv_and_bqml_of_one_scan_give_the_same_counts(scan):
    suv = replace(scan, array=scan.array / 4000, unit="SUV")
    one, other = lower_dose(scan, SCANNER, (LOW,), 1), lower_dose(suv, SCANNER, (LOW,), 1)
    assert one.effective_counts[LOW] == pytest.approx(other.effective_counts[LOW], rel=0.01)
    assert other.noise_free.unit == "SUV"
    np.testing.assert_allclose(4000 * other.noise_free.array, one.noise_free.array, rtol=1e-3, atol=1)


def test_an_image_corrected_to_the_injection_gives_the_counts_of_its_scan(scan):
    """It shows the activity of an hour before, of which the scanner saw what was left."""
    half_life = 6586.2
    facts = replace(scan.acquisition, half_life_s=half_life, scan_delay_s=3600.0)
    before = replace(scan, array=scan.array * np.float32(2 ** (3600 / half_life)), acquisition=facts)
    one, other = lower_dose(scan, SCANNER, (LOW,), 1), lower_dose(before, SCANNER, (LOW,), 1)
    assert other.effective_counts[FULL] == pytest.approx(one.effective_counts[FULL], rel=1e-3)
    inside = scan.array > 2000
    ratio = other.noise_free.array[inside].mean() / one.noise_free.array[inside].mean()
    assert ratio == pytest.approx(2 ** (3600 / half_life), rel=1e-3)
    # An SUV whose header tells no activity is taken at the scan, whatever it was corrected to.
    plain = replace(scan, array=scan.array / 4000, unit="SUV", acquisition=replace(facts, suv_per_bqml=None))
    at_scan = replace(plain, acquisition=replace(plain.acquisition, scan_delay_s=0.0))
    assert (
        lower_dose(plain, SCANNER, (), 1).effective_counts
        == lower_dose(at_scan, SCANNER, (), 1).effective_counts
    )
    unknown = replace(before, acquisition=replace(facts, scan_delay_s=None))
    told = lower_dose(unknown, SCANNER, (LOW,), 1)
    assert told.effective_counts == other.effective_counts and "one hour later assumed" in told.assumed[0]


def test_longer_beds_give_more_counts(scan):
    longer = replace(scan, acquisition=replace(scan.acquisition, frame_s=600.0))
    counts = [lower_dose(s, SCANNER, (LOW,), 1).effective_counts[FULL] for s in (scan, longer)]
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.01)


def test_one_scan_needs_one_scanner(scan, tmp_path):
    mapdiff.write(scan, tmp_path / "scan.nii.gz")
    for name in ("varied", "mct"):
        with pytest.raises(InputError, match=name):
            simulate_from_image(tmp_path / "scan.nii.gz", tmp_path / "out", (LOW,), name, 1)
    assert not (tmp_path / "out").exists()


def test_bad_input_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("hello")
    for source in (bad, tmp_path / "none.nii.gz"):
        with pytest.raises(InputError, match=source.name):
            simulate_from_image(source, tmp_path / "out", (LOW,), "quadra", 0)
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_is_refused(scan, tmp_path):
    mapdiff.write(scan, tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match="--seed -1: not negative"):
        simulate_from_image(tmp_path / "scan.nii.gz", tmp_path / "out", (LOW,), "quadra", -1)


@pytest.mark.parametrize(
    ("times", "seconds", "cause"),
    [
        (1e6, 300.0, r"the body's mean activity is .*e\+\d+ Bq/mL, which no scan has"),
        (1e-6, 300.0, "the body's mean activity is .* Bq/mL, which no scan has"),
        (1.0, 1e9, r"the time per bed position is 1e\+09 s, which no scan has"),
    ],
)
def test_counts_that_no_scan_has_are_refused(scan, tmp_path, times, seconds, cause):
    """A unit that is wrong by a million, not a cohort of NaN or of zeros."""
    facts = replace(scan.acquisition, frame_s=seconds)
    odd = replace(scan.with_array(scan.array * np.float32(times)), acquisition=facts)
    mapdiff.write(odd, tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=rf"scan\.nii\.gz: {cause}"):
        simulate_from_image(tmp_path / "scan.nii.gz", tmp_path / "out", (LOW,), "quadra", 1)
    assert not (tmp_path / "out").exists()


def test_a_sidecars_frame_of_no_length_is_not_taken(scan, tmp_path):
    mapdiff.write(scan, tmp_path / "scan.nii.gz")
    sidecar = tmp_path / "scan.json"
    fields = json.loads(sidecar.read_text())
    for field in ("FrameDuration", "SUVbwPerBqPerML"):
        for absurd in (0, -5):
            told = {**fields, field: absurd}
            sidecar.write_text(json.dumps(told))
            facts = mapdiff.read(tmp_path / "scan.nii.gz").acquisition
            assert (facts.frame_s if field == "FrameDuration" else facts.suv_per_bqml) is None


def test_too_few_counts_for_an_image_are_refused(scan, tmp_path):
    """Voxels of a tenth of a millimetre, where millimetres were meant."""
    small = replace(scan, affine=np.diag([0.1, 0.1, 0.1, 1.0]))
    with pytest.raises(InputError, match=r"counts at dose .* give no image"):
        lower_dose(small, SCANNER, (Fraction(1, 1000),), 1)
