"""Whole simulated scans of a cylinder: what is reconstructed, how noisy, how repeatable."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from mapdiff.dose import FULL
from mapdiff.simulate import scan as scan_module
from mapdiff.simulate.scan import bin_width, box_of, reconstructed, simulate_scan
from mapdiff.simulate.scanner import QUADRA, UEXPLORER, scanner_named

SPACING = (5.0, 5.0, 5.0)
DOSES = (FULL, Fraction(1, 4), Fraction(1, 20))
#: Fewer angles than the real presets, for speed; the physics is the same.
SCANNERS = {s.name: replace(s, angles=60, subsets=10) for s in (QUADRA, UEXPLORER)}


def cylinder():
    i, j = np.ogrid[-19.5:20, -19.5:20]
    body = np.repeat((i**2 + j**2 < 15**2)[:, :, None], 10, axis=2)
    return body, np.where(body, np.float32(4000), 0), np.where(body, np.float32(0.0096), 0)


@pytest.fixture(scope="module", params=list(SCANNERS))
def scanned(request):
    body, activity, mu = cylinder()
    rng = np.random.default_rng(3)
    result = simulate_scan(activity, mu, SPACING, SCANNERS[request.param], 600.0, DOSES, rng)
    # The detector's blur takes counts out of the ends of the field of view, as it does on real scanners.
    inner = binary_erosion(body[:, :, 5], iterations=4)
    inside = np.zeros_like(body)
    inside[:, :, 3:7] = inner[:, :, None]
    return result, inside, body


def test_a_uniform_cylinder_is_recovered(scanned):
    result, inside, _ = scanned
    values = result.noise_free[inside] / 4000
    assert values.mean() == pytest.approx(1, abs=0.01)
    assert np.percentile(np.abs(values - 1), 99) < 0.02


def test_total_activity_is_kept_at_every_dose(scanned):
    result, _, body = scanned
    whole = 4000 * body[:, :, 3:7].sum()
    assert result.noise_free[:, :, 3:7].sum() == pytest.approx(whole, rel=0.02)
    for dose in DOSES:
        assert result.doses[dose][:, :, 3:7].sum() == pytest.approx(whole, rel=0.03), dose


def test_noise_falls_as_one_over_the_dose(scanned):
    result, inside, _ = scanned
    variance = {d: float(np.var((result.doses[d] - result.noise_free)[inside])) for d in DOSES}
    assert variance[DOSES[1]] / variance[FULL] == pytest.approx(4, rel=0.3)
    assert variance[DOSES[2]] / variance[DOSES[1]] == pytest.approx(5, rel=0.3)


def test_scans_are_nested(scanned):
    """The covariance of two doses' noise is the higher one's variance, as that of nested counts."""
    result, inside, _ = scanned
    noise = [(result.doses[d] - result.noise_free)[inside].astype(float) for d in DOSES[:2]]
    assert np.mean(noise[0] * noise[1]) / np.var(noise[0]) == pytest.approx(1, abs=0.3)


def test_images_are_zero_far_from_the_body_and_never_negative(scanned):
    result, _, _ = scanned
    for image in (*result.doses.values(), result.noise_free):
        assert image.dtype == np.float32 and (image >= 0).all() and np.isfinite(image).all()
        if image is result.noise_free:
            assert (image[0, 0] == 0).all()


def test_prompts_follow_the_dose(scanned):
    result, _, _ = scanned
    for dose in DOSES[1:]:
        assert result.effective_counts[dose] / result.effective_counts[FULL] == pytest.approx(
            float(dose), rel=0.01
        )


def test_the_same_state_gives_the_same_bits_with_any_number_of_threads(monkeypatch):
    _, activity, mu = cylinder()
    activity, mu = activity[:, :, :4], mu[:, :, :4]
    results = []
    for workers in (2, 1):
        monkeypatch.setattr(
            scan_module, "ThreadPoolExecutor", lambda max_workers, n=workers: ThreadPoolExecutor(n)
        )
        rng = np.random.default_rng(8)
        results.append(simulate_scan(activity, mu, SPACING, SCANNERS["uexplorer"], 60.0, DOSES[:2], rng))
    one, other = results
    assert (
        one.effective_counts == other.effective_counts
        and one.noise_free.tobytes() == other.noise_free.tobytes()
    )
    for dose in DOSES[:2]:
        assert one.doses[dose].tobytes() == other.doses[dose].tobytes()


@pytest.mark.parametrize("name", list(SCANNERS))
def test_a_scan_is_the_same_in_whatever_chunks(monkeypatch, name):
    """Counts bit for bit; images but for what the resolution model brings from beyond a chunk's halo."""
    scanner = replace(SCANNERS[name], angles=48, subsets=8)
    rng = np.random.default_rng(4)
    body, _, mu = cylinder()
    body, mu = (np.concatenate([a] * 3, axis=2) for a in (body, mu))
    activity = np.where(body, rng.uniform(1000, 9000, body.shape), 0).astype(np.float32)
    results = []
    for chunk in (64, 7):
        monkeypatch.setattr(scan_module, "CHUNK", chunk)
        results.append(simulate_scan(activity, mu, SPACING, scanner, 60.0, DOSES, np.random.default_rng(9)))
    one, other = results
    assert one.effective_counts == other.effective_counts
    for a, b in ((one.noise_free, other.noise_free), *((one.doses[d], other.doses[d]) for d in DOSES)):
        assert np.abs(a - b).max() <= 2e-3 * a.max()
        assert np.abs(a - b)[body].mean() <= 2e-4 * a[body].mean()


@pytest.mark.parametrize("name", ["quadra", "quadra-psf"])
def test_a_dose_has_the_same_image_whatever_others_are_reconstructed_with_it(name):
    _, activity, mu = cylinder()
    together, alone = (
        simulate_scan(activity, mu, SPACING, scanner_named(name), 60.0, doses, np.random.default_rng(4))
        for doses in (DOSES, DOSES[:2])
    )
    for dose in DOSES[:2]:
        assert np.array_equal(together.doses[dose], alone.doses[dose]) and alone.doses[dose].any()


def test_an_empty_field_of_view_gives_empty_images():
    nothing = np.zeros((12, 12, 6), np.float32)
    result = simulate_scan(nothing, nothing, SPACING, QUADRA, 60.0, DOSES, np.random.default_rng(0))
    assert not result.noise_free.any() and set(result.effective_counts.values()) == {0}
    assert list(result.doses) == list(DOSES) and not result.doses[FULL].any()


def test_the_margin_of_air_follows_the_body_slice_by_slice():
    body, _, _ = cylinder()
    body[:, :, 6:] = False
    mask = reconstructed(body, SPACING)
    i, j = np.ogrid[-19.5:20, -19.5:20]
    radius = np.hypot(i, j) * 5
    assert mask[radius < 75 + 25, :6].all() and not mask[radius > 75 + 35].any()
    assert mask[20, 20, 7] and not mask[:, :, 8:].any()
    box = box_of(body.any(axis=2), SPACING)
    inside = np.zeros_like(mask)
    inside[box] = True
    assert not (mask & ~inside).any()


def test_bins_are_no_finer_than_what_is_there_to_see():
    assert bin_width((1.65, 1.65, 3.0), 3.6) == 1.8
    assert bin_width((4.0, 4.0, 2.0), 3.6) == 3.6
    assert bin_width((2.5, 3.0, 9.0), 3.6) == 3.0
