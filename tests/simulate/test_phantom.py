from dataclasses import replace

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.simulate.phantom import ORGANS, Body, Rasters, Subject, draw_body, draw_subject
from mapdiff.simulate.subject import COHORTS

STEP = (5.0, 5.0, 5.0)
LITRES = 125e-6


def _whole(body: Body, step: float) -> Rasters:
    """The whole body with raised arms, on a grid of cubic voxels."""
    shape = (round(800 / step), round(480 / step), round(2320 / step))
    return body.rasterise((step,) * 3, shape, (0.0, 0.0, 1120.0))


@pytest.fixture(scope="module")
def bodies() -> list[Body]:
    woman = Subject("F", 161.0, 58.0, True, 180e6, 3900.0)
    man = Subject("M", 181.0, 97.0, False, 290e6, 4000.0)
    return [draw_body(np.random.default_rng(11), woman), draw_body(np.random.default_rng(12), man)]


@pytest.fixture(scope="module")
def coarse(bodies: list[Body]) -> list[Rasters]:
    return [_whole(b, STEP[0]) for b in bodies]


def _mean_place(raster: Rasters, organ: str) -> np.ndarray:
    return np.argwhere(raster.organs == ORGANS[organ]).mean(axis=0)


def test_subjects_follow_the_cohort() -> None:
    rng = np.random.default_rng(0)
    for scanner, figures in COHORTS.items():
        people = [draw_subject(rng, scanner) for _ in range(1500)]
        weight = np.array([p.weight_kg for p in people])
        activity = np.array([p.injected_activity_bq for p in people]) / 1e6
        height = np.array([p.height_cm for p in people])
        uptake = np.array([p.uptake_s for p in people]) / 60
        assert weight.mean() == pytest.approx(figures.weight[0], rel=0.04)
        assert weight.std() == pytest.approx(figures.weight[1], rel=0.2)
        assert activity.mean() == pytest.approx(figures.activity[0], rel=0.04)
        assert height.mean() == pytest.approx(figures.height[0], rel=0.01)
        assert uptake.mean() == pytest.approx(figures.uptake[0], rel=0.04)
        assert np.corrcoef(weight, activity)[0, 1] == pytest.approx(figures.weight_activity, abs=0.08)
        men = np.array([p.sex == "M" for p in people])
        assert height[men].mean() > height[~men].mean() + 4


def test_same_seed_same_body_other_seed_other_body(bodies: list[Body]) -> None:
    subject = bodies[0].subject
    slab = (STEP, (170, 90, 12), (0.0, 0.0, 1080.0))
    again = draw_body(np.random.default_rng(11), subject).rasterise(*slab)
    first = bodies[0].rasterise(*slab)
    other = draw_body(np.random.default_rng(13), subject).rasterise(*slab)
    for name in ("suv", "mu", "organs", "lesions"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert np.abs(first.suv - other.suv).mean() > 0.1 * first.suv.mean()


def test_overlapping_slabs_agree(bodies: list[Body]) -> None:
    step = (3.0, 3.0, 3.0)
    low = bodies[0].rasterise(step, (220, 120, 60), (0.0, 0.0, 1000.0))
    high = bodies[0].rasterise(step, (220, 120, 60), (0.0, 0.0, 1120.0))  # 40 slices up
    np.testing.assert_allclose(low.suv[..., 40:], high.suv[..., :20], atol=2e-3)
    np.testing.assert_allclose(low.mu[..., 40:], high.mu[..., :20], atol=1e-5)
    assert (low.organs[..., 40:] != high.organs[..., :20]).mean() < 1e-4


def test_weighs_what_the_subject_weighs(bodies: list[Body], coarse: list[Rasters]) -> None:
    for body, raster in zip(bodies, coarse, strict=True):
        assert raster.mass_kg(STEP) == pytest.approx(body.subject.weight_kg, rel=0.05)


def test_values_are_possible(coarse: list[Rasters]) -> None:
    for r in coarse:
        assert r.suv.dtype == np.float32 and r.organs.dtype == np.uint8
        assert r.suv.min() >= 0 and np.isfinite(r.suv).all()
        assert r.mu.min() >= 0 and r.mu.max() <= 0.015
        assert r.suv[r.mu == 0].max() < 1e-3
        body = r.organs > 0
        assert 0.4 < r.suv[body].mean() < 1.5
        lungs = r.organs == ORGANS["lungs"]
        assert 0.002 < np.median(r.mu[lungs]) < 0.004
        edge = np.zeros(body.shape, bool)
        edge[[0, -1]] = edge[:, [0, -1]] = edge[:, :, [0, -1]] = True
        assert not (edge & body).any()


def test_organs_lie_on_their_sides_and_have_their_sizes(coarse: list[Rasters]) -> None:
    for r in coarse:
        middle = (r.organs.shape[0] - 1) / 2
        assert _mean_place(r, "liver")[0] > middle + 5  # i grows to the right
        assert _mean_place(r, "spleen")[0] < middle - 10
        assert _mean_place(r, "stomach")[0] < middle - 3
        assert _mean_place(r, "heart")[0] < middle - 3
        assert _mean_place(r, "heart")[1] > _mean_place(r, "spinal_cord")[1]  # j grows to the front
        order = ("bladder", "kidneys", "liver", "heart", "brain")
        heights = [_mean_place(r, o)[2] for o in order]
        assert heights == sorted(heights)
        litres = {o: (r.organs == ORGANS[o]).sum() * LITRES for o in ORGANS}
        assert 0.9 < litres["liver"] < 2.6
        assert 1.8 < litres["lungs"] < 6
        assert 0.9 < litres["brain"] + litres["brain_white"] < 1.7
        assert 0.15 < litres["kidneys"] < 0.6


def test_urine_is_not_clipped(bodies: list[Body]) -> None:
    body = replace(bodies[0], uptake=replace(bodies[0].uptake, bladder=60.0, bladder_ml=250.0))
    r = body.rasterise(STEP, (136, 72, 48), (0.0, 0.0, 840.0))
    bladder = r.organs == ORGANS["bladder"]
    assert r.suv[bladder].max() > 55
    assert bladder.sum() * LITRES * 1000 == pytest.approx(250, rel=0.15)


def test_lesions_are_inside_and_of_their_size() -> None:
    found = 0
    for seed in range(20, 23):
        rng = np.random.default_rng(seed)
        body = draw_body(rng, draw_subject(rng, "uexplorer"))
        for number, lesion in enumerate(body.lesions, 1):
            assert 5 <= lesion.diameter_mm <= 40 and 2 <= lesion.suv <= 15
            if found >= 6:
                continue
            step = max(1.0, lesion.diameter_mm / 14)
            n = int(2.4 * lesion.diameter_mm / step) + int(60 / step)
            x, y, z = lesion.centre_mm
            sx, sy, turn = (float(v[0]) for v in body.posture._bends(np.array([z])))
            centre = (x * np.cos(turn) - y * np.sin(turn) + sx, x * np.sin(turn) + y * np.cos(turn) + sy, z)
            r = body.rasterise((step,) * 3, (n, n, n), centre)
            mask = r.lesions == number
            diameter = (mask.sum() * step**3 * 6 / np.pi) ** (1 / 3)
            assert diameter == pytest.approx(lesion.diameter_mm, rel=0.15), lesion
            assert (r.organs[mask] > 0).all()
            assert np.percentile(r.suv[mask], 90) == pytest.approx(lesion.suv, rel=0.45)
            found += 1
    assert found >= 4


def test_more_lesions_for_training_change_nothing_else() -> None:
    def drawn(times: int) -> Body:
        rng = np.random.default_rng(21)
        return draw_body(rng, draw_subject(rng, "quadra"), times)

    one, many = drawn(1), drawn(10)
    assert (one.seed, one.girth, one.uptake) == (many.seed, many.girth, many.uptake)
    assert (one.posture.knots == many.posture.knots).all()
    assert 0 < len(one.lesions) <= 12
    assert len(one.lesions) * 5 < len(many.lesions) <= len(one.lesions) * 10
    centres = np.array([lesion.centre_mm for lesion in many.lesions])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    reach = np.array([lesion.diameter_mm for lesion in many.lesions]) / 2
    touching = apart < reach[:, None] + reach[None]
    assert not (touching & ~np.eye(len(centres), dtype=bool)).any()


def test_coarse_and_fine_grids_hold_the_same_activity(bodies: list[Body]) -> None:
    for body, z in zip(bodies, (1000.0, 1150.0), strict=True):
        fine = body.rasterise((2.0,) * 3, (360, 180, 60), (0.0, 0.0, z)).suv.sum(dtype=float) * 8
        wide = body.rasterise((4.0,) * 3, (180, 90, 30), (0.0, 0.0, z)).suv.sum(dtype=float) * 64
        assert wide == pytest.approx(fine, rel=0.02)


def test_impossible_grid_is_refused(bodies: list[Body]) -> None:
    with pytest.raises(InputError, match="grid"):
        bodies[0].rasterise((0.0, 1.0, 1.0), (4, 4, 4), (0.0, 0.0, 0.0))
