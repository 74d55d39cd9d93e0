"""The weights of the losses."""

import pytest
import torch

from mapdiff.diffusion.anchor_loss import (
    KERNEL_WIDTH,
    WEIGHT_FLOOR,
    WEIGHT_POWER,
    error_weight,
    level_weight,
    timestep_weights,
    weighted_square,
)

SPACING = torch.full((2, 3), 4.0)


def test_an_anchor_weighs_most_at_its_own_time():
    t = torch.arange(1, 1001, dtype=torch.float32)
    anchors = {"1/10": 600.0, "1/4": 500.0, "1/2": 400.0}
    weights = timestep_weights(t, anchors)
    assert list(weights) == list(anchors)
    for label, weight in weights.items():
        assert weight.shape == t.shape and (weight >= 0).all()
        assert weight.max() == 1 and t[weight.argmax()] == anchors[label]
        # half a width to each side, the same
        at = int(anchors[label]) - 1
        assert weight[at + 30] == pytest.approx(float(weight[at - 30]))
        assert float(weight[at + int(KERNEL_WIDTH)]) == pytest.approx(2.718281828**-0.5, rel=1e-5)


def test_the_error_weight_depends_on_the_local_mean_of_u():
    u = torch.ones(2, 1, 16, 16, 16)
    u[1] *= 3
    weight = error_weight(u, SPACING)
    assert weight.shape == u.shape
    torch.testing.assert_close(weight[0], torch.full_like(weight[0], (1 + WEIGHT_FLOOR) ** -WEIGHT_POWER))
    torch.testing.assert_close(weight[1], torch.full_like(weight[1], (3 + WEIGHT_FLOOR) ** -WEIGHT_POWER))


def test_the_error_weight_is_local_and_positive():
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(2, 1, 24, 24, 24, generator=generator)  # negative voxels too
    changed = u.clone()
    changed[:, :, 20:] += 5
    before, after = error_weight(u, SPACING), error_weight(changed, SPACING)
    assert (before > 0).all() and (before <= 1.001 * WEIGHT_FLOOR**-WEIGHT_POWER).all()
    assert torch.equal(before[:, :, :12], after[:, :, :12])
    assert not torch.equal(before[:, :, 20:], after[:, :, 20:])


def test_the_width_is_in_millimetres():
    u = torch.zeros(1, 1, 33, 33, 33)
    u[..., 16, 16, 16] = 100
    reach = []
    for spacing in (2.0, 4.0):
        weight = error_weight(u, torch.full((1, 3), spacing))
        touched = (weight < 0.999 * WEIGHT_FLOOR**-WEIGHT_POWER).any(dim=-1).any(dim=-1)[0, 0]
        reach.append(int(touched.sum()) * spacing)
    assert reach[0] == pytest.approx(reach[1], rel=0.5) and 8 <= min(reach) <= max(reach) <= 24


def test_the_minimiser_is_the_conditional_mean():
    """Of repeated targets for one u, the mean has the least error: no bias, as a root would have."""
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(1, 1, 12, 12, 12, generator=generator) + 0.5
    targets = torch.rand(64, 1, 12, 12, 12, generator=generator) ** 3
    weight = error_weight(u, SPACING[:1])
    mean = targets.mean(0, keepdim=True).requires_grad_()
    weighted_square(mean.expand_as(targets), targets, weight).mean().backward()
    assert mean.grad.abs().max() < 1e-6


def test_one_error_for_each_patch():
    prediction, target = torch.zeros(2, 1, 4, 4, 4), torch.zeros(2, 1, 4, 4, 4)
    target[1] = 2
    assert weighted_square(prediction, target, torch.full_like(target, 0.5)).tolist() == [0.0, 2.0]


def test_noisier_inputs_weigh_less():
    weight = level_weight(torch.tensor([0.0, 0.1, 0.3, 0.9, 2.0]))
    assert (weight.diff() < 0).all() and (weight > 0).all()
    assert float(weight[2]) == pytest.approx(1) and weight[0] < 10.1  # a quiet scan does not take over
