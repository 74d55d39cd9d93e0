"""The method: its loss, and its stages against the algebra of the path."""

import dataclasses
from fractions import Fraction

import pytest
import torch

from mapdiff.diffusion.transform import transform
from mapdiff.methods.base import part_of
from mapdiff.methods.map_diff import MapDiff, estimate
from synthetic import FULL_LEVEL, nested_scans, nominal_calibration, random_net, smooth_body

SHAPE = (16, 16, 16)
CALIBRATION = nominal_calibration()
METHOD = MapDiff()


def loss_of(net, batch, seed, method=METHOD) -> dict[str, torch.Tensor]:
    draws = method.draw(len(batch), batch.target.shape[-1], torch.Generator().manual_seed(seed))
    return method.loss(net, batch, CALIBRATION, draws)


class Perfect(torch.nn.Module):
    """A network that knows the noise-free image."""

    def __init__(self, z: torch.Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, state, u, condition):
        return transform(self.z)


@pytest.mark.parametrize("seed", range(6))
def test_the_loss_is_finite_and_repeats(batch, seed):
    net = random_net()
    one, again = loss_of(net, batch, seed), loss_of(net, batch, seed)
    assert set(one) == {"loss", "diffusion", "anchor"}
    for name, value in one.items():
        assert value.shape == () and torch.isfinite(value) and value >= 0
        assert torch.equal(value, again[name])
    torch.testing.assert_close(one["loss"], one["diffusion"] + MapDiff().anchor_weight * one["anchor"])
    assert not torch.equal(one["loss"], loss_of(net, batch, seed + 100)["loss"])


@pytest.mark.parametrize("own_stages", [0.0, 1.0])
def test_a_perfect_network_has_no_diffusion_loss(batch, own_stages):
    """From the input, and from stages of its own; the anchors keep their noise, so theirs is not zero."""
    for seed in range(4):
        found = loss_of(Perfect(batch.target), batch, seed, MapDiff(own_stages=own_stages))
        assert found["diffusion"] < 1e-10 and found["anchor"] >= 0


def test_a_perfect_network_has_the_least_anchor_loss(batch):
    """On average over draws, a wrong estimate misses the anchors by more than their noise."""
    wrong = Perfect(1.3 * batch.target)
    losses = [
        (loss_of(Perfect(batch.target), batch, seed)["anchor"], loss_of(wrong, batch, seed)["anchor"])
        for seed in range(12)
    ]
    right, off = (float(torch.stack(side).mean()) for side in zip(*losses, strict=True))
    assert 0 < right < off


def test_the_loss_trains_every_weight(batch):
    net = random_net().train()
    loss_of(net, batch, 1, MapDiff(own_stages=1.0))["loss"].backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert sum(float(p.grad.abs().sum()) for p in net.parameters()) > 0


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_a_batch_have_the_losses_of_the_whole(batch, seed):
    """On average; so processes and pieces that share a batch train as one."""
    net, method = random_net(), MapDiff(own_stages=0.5)
    draws = method.draw(2, 16, torch.Generator().manual_seed(seed))
    whole = method.loss(net, batch, CALIBRATION, draws)
    parts = [
        method.loss(net, batch.part(which), CALIBRATION, part_of(draws, which))
        for which in (slice(0, 1), slice(1, 2))
    ]
    for name, value in whole.items():
        torch.testing.assert_close(value, (parts[0][name] + parts[1][name]) / 2)


def test_a_dose_that_is_not_present_is_not_used(batch):
    """Whatever stands in its place: neither as the input nor as an anchor."""
    present = batch.present.clone()
    present[0, [2, 4]] = False  # 1/4, an anchor, and 1/20, the commonest input
    lacking = []
    for filler in (0.0, 100.0):
        scans = batch.scans.clone()
        scans[0, [2, 4]] = filler
        lacking.append(dataclasses.replace(batch, present=present, scans=scans))
    for seed in range(12):
        one, other = (loss_of(random_net(), b, seed) for b in lacking)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_estimate_of_an_identity_is_the_state(batch):
    class Identity(torch.nn.Module):
        def forward(self, state, u, condition):
            return state

    u, level = batch.scans[:, -1:], torch.full((2,), 0.6)
    out = estimate(Identity(), u, u, level, level, (4.0, 4.0, 4.0))
    torch.testing.assert_close(out, u, rtol=1e-5, atol=1e-6)


def stages_of(z, u, dose, seen=None, chained=False):
    def predict(state, given, level):
        assert given is u
        if seen is not None:
            seen.append((state, level))
        return z

    method = MapDiff(chained=chained)
    return list(method.stages(predict, u, FULL_LEVEL / dose**0.5, dose, CALIBRATION, (4.0, 4.0, 4.0)))


@pytest.mark.parametrize("chained", [False, True])
def test_with_the_truth_every_stage_is_the_algebra(chained):
    z = torch.from_numpy(smooth_body(SHAPE)).double()
    scans = nested_scans(z.numpy())
    u, d_u = torch.from_numpy(scans[Fraction(1, 20)]).double(), 1 / 20
    seen: list = []
    stages = stages_of(z, u, d_u, seen, chained)
    assert [s.label for s in stages] == ["1/10", "1/4", "1/2", "full"]
    assert [s.dose for s in stages] == pytest.approx([0.1, 0.25, 0.5, 1.0], rel=1e-6)
    for stage in stages:
        torch.testing.assert_close(stage.image, z + d_u / stage.dose * (u - z), rtol=1e-6, atol=1e-6)
    # The first state is the input; chained, each further one is the stage before, with its own dose's level.
    assert seen[0][0] is u
    for (state, level), stage in zip(seen[1:], stages[:-1], strict=True):
        dose = stage.dose if chained else d_u
        assert state is (stage.image if chained else u)
        assert level == pytest.approx(FULL_LEVEL / dose**0.5, rel=1e-6)


def test_the_noise_free_image_is_the_mean_of_the_estimates_so_far():
    u = torch.full((4, 4, 4), 2.0)
    estimates = iter([torch.full((4, 4, 4), v) for v in (1.0, 2.0, 6.0, 3.0)])
    method = MapDiff()
    stages = list(
        method.stages(lambda *_: next(estimates), u, FULL_LEVEL / 0.05**0.5, 0.05, CALIBRATION, (4.0,) * 3)
    )
    for stage, mean in zip(stages, (1.0, 1.5, 3.0, 3.0), strict=True):
        expected = mean + 0.05 / stage.dose * (2.0 - mean)
        torch.testing.assert_close(stage.image, torch.full((4, 4, 4), expected))


def test_stages_come_ever_nearer_to_the_truth():
    z = torch.from_numpy(smooth_body(SHAPE)).double()
    u = torch.from_numpy(nested_scans(z.numpy())[Fraction(1, 100)]).double()
    errors = [float((s.image - z).abs().mean()) for s in stages_of(z, u, 1 / 100)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("dose", "labels"),
    [
        (1 / 100, ["1/10", "1/4", "1/2", "full"]),
        (0.12, ["1/4", "1/2", "full"]),
        (0.3, ["1/2", "full"]),
        (0.6, ["full"]),
    ],
)
def test_an_input_above_an_anchor_has_no_stage_there(dose, labels):
    z = torch.ones(4, 4, 4)
    assert [s.label for s in stages_of(z, 1.1 * z, dose)] == labels


def test_stochastic_stages_end_at_a_possible_full_dose_scan():
    """With the truth known, the last stage has a full-dose scan's noise, another for each seed."""
    shape = (24, 24, 24)
    z = torch.from_numpy(smooth_body(shape, hot=1.0))
    u = torch.from_numpy(nested_scans(z.numpy())[Fraction(1, 20)])
    body = z > 0.6

    def last(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        level = FULL_LEVEL * 20**0.5
        stages = METHOD.stages(lambda *_: z, u, level, 0.05, CALIBRATION, (4.0, 4.0, 4.0), generator)
        return list(stages)[-1].image

    one, again, other = last(1), last(1), last(2)
    assert torch.equal(one, again) and not torch.equal(one, other)
    for image in (one, other):
        real = torch.from_numpy(nested_scans(z.numpy())[Fraction(1)])
        found, expected = (float((y - z)[body].abs().mean()) for y in (image, real))
        assert found == pytest.approx(expected, rel=0.2)
