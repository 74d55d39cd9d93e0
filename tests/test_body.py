"""The body mask and scale: on a real scan, its noisy copies, and bodies of simple shape."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from mapdiff.body import body_mask, body_scale
from mapdiff.errors import InputError

SHARED = Path(os.environ.get("MAPDIFF_SHARED", Path(__file__).resolve().parents[1] / ".." / "shared"))
SPACING = (4.6875, 4.6875, 3.27)


@pytest.fixture(scope="module")
def real():
    folder = SHARED / "data" / "real_pet_sts001" / "dicom"
    if not folder.is_dir():
        pytest.skip(f"the real series is not there: {folder}")
    slices = sorted(
        (pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda s: s.ImagePositionPatient[2]
    )
    stack = [s.pixel_array.astype(np.float32) * np.float32(s.RescaleSlope) for s in slices]
    return np.stack(stack).transpose(2, 1, 0).copy()


def noisy(image, part, spacing=SPACING, seed=0):
    """Noise as after OSEM: correlated over 5 mm, variance with the local mean, no voxel below zero."""
    noise = np.random.default_rng(seed).standard_normal(image.shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, [5 / 2.355 / length for length in spacing])
    body = image[body_mask(image, spacing)].mean()
    local = np.maximum(ndimage.gaussian_filter(image, [8.5 / length for length in spacing]), 0.02 * body)
    return np.maximum(image + noise / noise.std() * part * np.sqrt(body * local), 0)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ellipsoid(spacing, hot=1.0):
    """A body of 20 L with lungs at a third, a bladder `hot` times as bright, and faint air."""
    shape = [round(length / step) for length, step in zip((480, 360, 600), spacing, strict=True)]
    grid = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    body = sum((g / r) ** 2 for g, r in zip(grid, (170, 110, 255), strict=True)) <= 1
    image = np.where(body, 1.0, 0.02).astype(np.float32)
    for side in (-70, 70):
        image[sum((g - c) ** 2 for g, c in zip(grid, (side, 0, 100), strict=True)) <= 45**2] = 0.35
    image[sum((g - c) ** 2 for g, c in zip(grid, (0, 0, -170), strict=True)) <= 30**2] = hot
    return image, body


def test_mask_of_a_known_body_at_every_spacing():
    for spacing in ((3.0, 3.0, 3.0), (1.5, 4.0, 5.5), (5.5, 5.5, 5.5), (1.65, 5.0, 5.0)):
        image, body = ellipsoid(spacing)
        assert dice(body_mask(image, spacing), body) > 0.95, spacing


def test_mask_does_not_care_how_hot_the_bladder_is():
    spacing = (4.0, 4.0, 4.0)
    image, body = ellipsoid(spacing, hot=60.0)
    assert dice(body_mask(image, spacing), body) > 0.93


def test_legs_are_kept_and_specks_are_not():
    image = np.full((60, 40, 60), 0.01, np.float32)
    image[8:25, 8:32, 5:55], image[38:50, 10:30, 5:55] = 1.0, 1.0  # two legs that do not touch
    image[55:57, 3:5, 30:32] = 5.0  # the tracer's line, say
    mask = body_mask(image, (4.0, 4.0, 4.0))
    assert mask[16, 20, 30]
    assert mask[44, 20, 30]
    assert not mask[54:].any()


def test_a_cold_hole_within_the_body_is_filled():
    image = np.full((40, 40, 40), 0.01, np.float32)
    image[5:35, 5:35, 5:35] = 1.0
    image[14:26, 14:26, 14:26] = 0.0
    assert body_mask(image, (4.0, 4.0, 4.0))[20, 20, 20]


def test_real_body_has_a_patients_volume(real):
    mask = body_mask(real, SPACING)
    assert 40 < mask.sum() * np.prod(SPACING) / 1e6 < 75  # neck to thigh, in litres
    assert real[mask].sum() > 0.97 * real.sum()


@pytest.mark.parametrize("factor", [3.7, 2.4e-4, 1e5])
def test_scale_equivariance(real, factor):
    mask = body_mask(real, SPACING)
    scaled = real * np.float32(factor)
    assert (body_mask(scaled, SPACING) != mask).sum() <= 1  # rounding may move a voxel at the threshold
    assert body_scale(scaled, mask) == pytest.approx(factor * body_scale(real, mask), rel=1e-5)


@pytest.mark.parametrize(("part", "agreement"), [(0.31, 0.985), (0.7, 0.97), (1.0, 0.95)])
def test_mask_survives_noise(real, part, agreement):
    assert dice(body_mask(noisy(real, part), SPACING), body_mask(real, SPACING)) > agreement


@pytest.mark.parametrize("slices", [slice(None), slice(0, 70), slice(120, 160), slice(200, 267)])
def test_scale_hardly_moves_at_a_twentieth_of_the_dose(real, slices):
    part = real[:, :, slices]
    low = noisy(part, 0.31)
    full_scale = body_scale(part, body_mask(part, SPACING))
    assert body_scale(low, body_mask(low, SPACING)) == pytest.approx(full_scale, rel=0.02)


def test_scale_is_not_driven_by_hot_organs():
    spacing = (4.0, 4.0, 4.0)
    (cool, _), (hot, _) = ellipsoid(spacing, 1.0), ellipsoid(spacing, 60.0)
    assert hot[hot > 0.1].mean() > 1.2 * cool[cool > 0.1].mean()
    ratio = body_scale(hot, body_mask(hot, spacing)) / body_scale(cool, body_mask(cool, spacing))
    assert ratio == pytest.approx(1.0, abs=0.05)


def test_scale_of_a_slab_thinner_than_a_block():
    image = np.full((30, 30, 2), 5.0, np.float32)
    assert body_scale(image, np.ones_like(image, bool)) == pytest.approx(5.0)


def test_empty_images_are_refused():
    empty = np.zeros((8, 8, 8), np.float32)
    with pytest.raises(InputError, match="above zero"):
        body_mask(empty, (2, 2, 2))
    with pytest.raises(InputError, match="mask is empty"):
        body_scale(empty + 1, np.zeros(empty.shape, bool))
    with pytest.raises(InputError, match="not above zero"):
        body_scale(empty, np.ones(empty.shape, bool))
    with pytest.raises(InputError, match="positive lengths"):
        body_mask(empty + 1, (2, 0, 2))
