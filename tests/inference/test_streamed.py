"""A path that is worked on by slabs gives what the whole volume at once gives."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion import feedback
from mapdiff.diffusion.hot_spots import keep_hot_spots
from mapdiff.diffusion.noise_map import noise_map
from mapdiff.inference import streamed
from mapdiff.inference.scan import Scan
from mapdiff.inference.streamed import StreamedPath
from mapdiff.inference.tiling import plan_tiles
from mapdiff.methods.base import Step
from mapdiff.scratch import SLAB
from synthetic import low_dose_volume

KEPT_MM = 17.0
SHAPE = (40, 40, 3 * SLAB + 8)
FULL = Step("full", 1.0, 0.3, 0.05, None, True)


def path_of(scan: Scan, estimate: np.ndarray) -> StreamedPath:
    """A path whose network gives the parts of `estimate`, a whole volume; one step taken."""
    tiles = plan_tiles(np.ones(scan.shape, bool), 2)
    parts = iter([torch.from_numpy(estimate[tile.slices].copy()) for tile in tiles])
    path = StreamedPath(scan, tiles, lambda *_: next(parts), lambda: None, KEPT_MM, whole=True)
    assert len(list(path.run([FULL]))) == 1
    return path


def test_corrections_by_slabs_are_those_of_the_whole_volume():
    volume = low_dose_volume(SHAPE)
    scan, whole = Scan(volume), (slice(None),) * 3
    u = scan[whole]
    estimate = gaussian_filter(u, 1.5)
    estimate[:, :, SLAB:] *= np.float32(0.95)
    path = path_of(scan, estimate)
    asked = np.where(scan.near[whole], estimate, scan.air(whole))
    kept = feedback.keep_activity(asked, u, KEPT_MM, volume.spacing)
    counts = feedback.residual_counts(kept, u, scan.body[whole], volume.spacing)
    body = scan.body[whole]
    places = noise_map(lambda a, b: (kept[:, :, a:b], body[:, :, a:b]), SHAPE, volume.spacing)
    noise = feedback.residual_noise(counts, places)
    assert path._residual_noise is not None
    for (weight, measured), (expected, octaves) in zip(
        path._residual_noise[0].parts, noise.parts, strict=True
    ):
        assert weight == pytest.approx(expected, abs=1e-3) and measured.rare == octaves.rare
        np.testing.assert_allclose(measured.sigma, octaves.sigma, rtol=1e-3)
    restored = feedback.restore_structure(kept, u, noise, volume.spacing, places)
    z = keep_hot_spots(restored, u, volume.spacing)
    wanted = (z + np.float32(0.05) * (u - z)) * np.float32(scan.scale)
    assert np.abs(restored - kept).max() > 0.01  # there was something to put back
    assert np.abs(z - restored).max() > 0.01  # and a spot
    np.testing.assert_allclose(path.stage(0.05, 0, SHAPE[2]), wanted, rtol=2e-3, atol=0.05)


def test_what_a_few_slices_hold_is_rare_wherever_they_lie(monkeypatch):
    """Every slab counts: a hot organ is not more or less rare for where the scan begins."""
    volume = low_dose_volume(SHAPE)
    found = []
    for thickness in (SLAB, 20, 1000):
        monkeypatch.setattr(
            streamed,
            "slabs",
            lambda size, t=thickness: [(start, min(start + t, size)) for start in range(0, size, t)],
        )
        scan = Scan(volume)
        estimate = gaussian_filter(scan[(slice(None),) * 3], 1.5)
        found.append(path_of(scan, estimate)._residual_noise)
    first = found[0]
    assert first is not None
    for other in found[1:]:
        assert other is not None and other[0] == first[0]
        np.testing.assert_array_equal(other[1].variance, first[1].variance)
