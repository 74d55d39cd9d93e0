"""The rivals under the one protocol: losses that train what they should, stages that are the algebra."""

import pytest
import torch

from mapdiff.diffusion.gaussian_calibration import anchor_times, sigma_of_level
from mapdiff.diffusion.schedule import T, diffuse, schedule_named
from mapdiff.diffusion.transform import invert, transform
from mapdiff.errors import InputError
from mapdiff.methods.base import part_of
from mapdiff.methods.ddpm import Ddpm
from mapdiff.methods.map_diff_paper import DIFFUSED, INPUT, OWN, MapDiffPaper
from mapdiff.methods.prediction import PREDICTIONS, estimate_x_0
from mapdiff.methods.registry import METHODS, method_named
from mapdiff.networks.gan import DISCRIMINATOR, GENERATOR
from synthetic import FULL_LEVEL, nominal_calibration, random_net, smooth_body

SHAPE = (16, 16, 16)
CALIBRATION = nominal_calibration()
SPACING = (4.0, 4.0, 4.0)
#: SwinUNETR takes 64^3 voxels at least and a minute of a slow core: it has a test of its own.
QUICK = [name for name in METHODS if name != "swin-unetr"]


def built(name):
    """A small network of the method whose zero-initialised layers do something."""
    torch.manual_seed(0)
    net = method_named(name).build((8, 16), (1, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return net


def losses(name, net, batch, turn, seed=1):
    method = method_named(name)
    draws = method.draw(len(batch), SHAPE[0], torch.Generator().manual_seed(seed))
    return method.loss(net, batch, CALIBRATION, draws, turn)


@pytest.mark.parametrize("name", QUICK)
def test_every_turn_trains_its_own_weights_and_only_those(name, batch):
    net = built(name)
    assert method_named(name).name == name
    turns = method_named(name).turns(net)
    together = [p for trained in turns.values() for p in trained]
    assert len(together) == len(set(together)) and set(together) == set(net.parameters())
    for turn, trained in turns.items():
        net.zero_grad()
        found = losses(name, net, batch, turn)
        assert all(v.shape == () and torch.isfinite(v) for v in found.values())
        found["loss"].backward()
        for parameter in net.parameters():
            moved = parameter.grad is not None and bool(parameter.grad.any())
            assert not moved or any(parameter is p for p in trained)
        moved = [p.grad is not None and bool(p.grad.any()) for p in trained]
        assert sum(moved) >= 0.8 * len(moved), turn


@pytest.mark.parametrize("name", QUICK)
def test_the_loss_repeats_and_is_the_mean_over_pieces(name, batch):
    """Draws are made for the whole batch, so cutting it up changes nothing."""
    net, method = built(name), method_named(name)
    draws = method.draw(2, SHAPE[0], torch.Generator().manual_seed(5))
    for turn in method.turns(net):
        whole = method.loss(net, batch, CALIBRATION, draws, turn)["loss"]
        assert torch.equal(whole, method.loss(net, batch, CALIBRATION, draws, turn)["loss"])
        pieces = [
            method.loss(net, batch.part(s), CALIBRATION, part_of(draws, s), turn)["loss"]
            for s in (slice(0, 1), slice(1, 2))
        ]
        torch.testing.assert_close(torch.stack(pieces).mean(), whole, rtol=1e-4, atol=1e-6)


def test_the_generator_follows_the_discriminator(batch):
    """The adversarial gradient reaches the generator: it vanishes where its weight is nothing."""
    from mapdiff.methods.gan import Gan

    net = built("gan")
    grads = []
    for weight in (0.0, 1.0):
        method = Gan(adversarial_weight=weight)
        net.zero_grad()
        draws = method.draw(2, SHAPE[0], torch.Generator().manual_seed(1))
        method.loss(net, batch, CALIBRATION, draws, GENERATOR)["loss"].backward()
        grads.append(net.generator.exit.weight.grad.clone())
    assert not torch.allclose(grads[0], grads[1])
    judged = losses("gan", net, batch, DISCRIMINATOR)
    assert torch.equal(judged["loss"], judged["judge"])


@pytest.mark.parametrize("name", ["unet", "gan"])
def test_one_shot_methods_ask_once_and_mix(name):
    z = torch.from_numpy(smooth_body(SHAPE)).double()
    u = z + 0.1
    asked = []

    def predict(state, given, level):
        assert given is u
        asked.append(level)
        return z

    method = method_named(name)
    stages = list(method.stages(predict, u, 0.3, 1 / 20, CALIBRATION, SPACING, None))
    assert [s.label for s in stages] == ["1/10", "1/4", "1/2", "full"] and asked == [0.3]
    for stage in stages:
        torch.testing.assert_close(stage.image, z + (u - z) / 20 / stage.dose, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["unet", "gan"])
def test_one_shot_networks_do_not_look_at_the_state(name):
    net, method = built(name).eval(), method_named(name)
    u = torch.from_numpy(smooth_body(SHAPE))
    predict = method.predictor(net, 0.3, SPACING)
    with torch.no_grad():
        assert torch.equal(predict(u, u, 0.3), predict(torch.zeros_like(u), u, 0.1))
        first = method.first_estimate(predict, u, 0.3, CALIBRATION)
    assert torch.equal(first, predict(u, u, 0.3))


class Knows(torch.nn.Module):
    """A denoiser from which every parametrisation gets x_0 back."""

    def __init__(self, prediction, x_0, noise, abar, u, level):
        super().__init__()
        from mapdiff.methods.prediction import NOISE_PER_LEVEL

        self.prediction, self.x_0, self.noise, self.abar = prediction, x_0, noise, abar
        self.u, self.s = u, NOISE_PER_LEVEL * level

    def forward(self, state, u, condition):
        a = self.abar[:, None, None, None, None]
        if self.prediction == "epsilon":
            return state + self.noise
        if self.prediction == "v":
            return state + a.sqrt() * self.noise - (1 - a).sqrt() * self.x_0
        s, wide = self.s[:, None, None, None, None], ((1 - a) / a).sqrt()
        return state + (self.x_0 - state) / (s * wide / (s**2 + wide**2).sqrt())


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("t", [2, 300, 900])
def test_the_right_output_gives_x_0(prediction, t):
    generator = torch.Generator().manual_seed(t)
    x_0, noise, other = torch.randn(3, 2, 1, 8, 8, 8, generator=generator, dtype=torch.float64)
    abar, level = (
        schedule_named("logarithmic").abar[torch.tensor([t, t + 50])],
        torch.tensor([0.2, 0.4]).double(),
    )
    x_t = diffuse(x_0, noise, abar)
    u = x_0 + 0.1 * other
    net = Knows(prediction, x_0, noise, abar, u, level)
    found, scale = estimate_x_0(net, prediction, x_t, u, abar, level, torch.tensor(SPACING))
    torch.testing.assert_close(found, x_0, rtol=1e-6, atol=1e-6)
    assert scale.shape == (2, 1, 1, 1, 1) and bool((scale > 0).all())


def test_the_posterior_mean_is_the_best_mix_of_both_measurements():
    """A network that corrects nothing is then the linear estimate with the least error."""

    class Nothing(torch.nn.Module):
        def forward(self, state, u, condition):
            return state

    generator = torch.Generator().manual_seed(0)
    x_0, noise, other = torch.randn(3, 1, 1, 24, 24, 24, generator=generator, dtype=torch.float64)
    level, abar = torch.tensor([0.5]).double(), schedule_named("logarithmic").abar[[450]]
    u = x_0 + 0.61 * 0.5 * other
    x_t = diffuse(x_0, noise, abar)
    found, scale = estimate_x_0(Nothing(), "posterior", x_t, u, abar, level, torch.tensor(SPACING))
    error = float((found - x_0).std())
    assert error == pytest.approx(float(scale), rel=0.05)
    assert error < float((u - x_0).std()) and error < float((x_t / abar.sqrt() - x_0).std())


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 50), ("ancestral", 200)])
def test_ddpm_with_the_truth_ends_at_the_full_dose_estimate(sampler, steps):
    z = torch.from_numpy(smooth_body(SHAPE)).double()
    u = z + 0.2 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    asked = []

    def predict(state, given, t):
        assert torch.equal(given, transform(u))
        asked.append(t)
        return transform(z)

    method = Ddpm(sampler=sampler, steps=steps)
    stages = list(method.stages(predict, u, 0.27, 1 / 20, CALIBRATION, SPACING, None))
    assert len(asked) == steps and asked[0] == T
    assert [s.label for s in stages] == ["1/10", "1/4", "1/2", "full"]
    for stage in stages:
        torch.testing.assert_close(stage.image, z + (u - z) / 20 / stage.dose, rtol=1e-5, atol=1e-6)
    # The state at an anchor, rescaled, is about as degraded as that anchor's level says.
    for stage in stages[:-1]:
        expected = sigma_of_level(CALIBRATION, FULL_LEVEL / stage.dose**0.5)
        assert float((transform(stage.state) - transform(z)).std()) == pytest.approx(expected, rel=0.2)


def test_ddpm_samples_differ_by_seed_and_not_otherwise():
    net, method = random_net(), Ddpm(steps=3)
    u = torch.from_numpy(smooth_body(SHAPE))

    def sample(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        predict = method.predictor(net, 0.3, SPACING)
        with torch.no_grad():
            return list(method.stages(predict, u, 0.3, 0.05, CALIBRATION, SPACING, generator))[-1].image

    assert torch.equal(sample(1), sample(1)) and not torch.equal(sample(1), sample(2))
    assert torch.equal(sample(None), sample(0))


def test_the_papers_path_starts_where_the_input_is_and_passes_the_anchors():
    z = torch.from_numpy(smooth_body(SHAPE)).double()
    u = z + 0.2 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    level = FULL_LEVEL * 20**0.5
    asked = []

    def predict(state, given, t):
        asked.append((t, state))
        return transform(z)

    stages = list(MapDiffPaper().stages(predict, u, level, 1 / 20, CALIBRATION, SPACING, None))
    schedule = schedule_named("logarithmic")
    times = anchor_times(CALIBRATION, schedule)
    assert [t for t, _ in asked[1:]] == sorted(times.values(), reverse=True)
    assert float(schedule.sigma(asked[0][0])) == pytest.approx(sigma_of_level(CALIBRATION, level), rel=0.01)
    root = float(schedule.abar[asked[0][0]]) ** 0.5
    torch.testing.assert_close(asked[0][1], root * transform(u))
    assert [s.label for s in stages] == ["1/10", "1/4", "1/2", "full"]
    for stage in stages:
        torch.testing.assert_close(stage.image, z + (u - z) / 20 / stage.dose, rtol=1e-5, atol=1e-6)
    # Deterministic steps keep the input's residual, scaled by sigma_s / sigma_t on the transformed scale.
    for (t, _), stage in zip(asked[1:], stages[:-1], strict=True):
        ratio = float(schedule.sigma(t) / schedule.sigma(asked[0][0]))
        expected = invert(transform(z) + ratio * (transform(u) - transform(z)))
        torch.testing.assert_close(stage.state, expected, rtol=1e-5, atol=1e-6)


def test_the_papers_path_leaves_out_anchors_below_the_input_and_takes_steps_between():
    z = torch.ones(SHAPE)
    asked = []

    def predict(state, given, t):
        asked.append(t)
        return transform(z)

    method = MapDiffPaper(between=2)
    stages = list(method.stages(predict, 1.1 * z, FULL_LEVEL * 0.3**-0.5, 0.3, CALIBRATION, SPACING, None))
    assert [s.label for s in stages] == ["1/2", "full"] and len(asked) == 6
    assert asked == sorted(asked, reverse=True)


@pytest.mark.parametrize("kind", [DIFFUSED, INPUT, OWN])
def test_a_perfect_network_has_no_diffusion_loss_on_the_papers_path(batch, kind):
    class Perfect(torch.nn.Module):
        def forward(self, state, u, condition):
            sigma = 0.3 * torch.exp(condition[:, :1, None, None, None])
            a = 1 / (1 + sigma**2)
            x_0 = transform(batch.target)
            return state + (a.sqrt() * state - x_0) / (1 - a).sqrt()  # v from x_t and x_0

    kinds = tuple(float(n == kind) for n in range(3))
    method = MapDiffPaper(kinds=kinds, prediction="v")
    draws = method.draw(2, SHAPE[0], torch.Generator().manual_seed(kind))
    found = method.loss(Perfect(), batch, CALIBRATION, draws)
    assert found["diffusion"] < 1e-8 and found["anchor"] > 0


@pytest.mark.parametrize("setting", [{"schedule": "x"}, {"prediction": "x"}, {"sampler": "x"}])
def test_unknown_settings_are_input_errors(setting):
    with pytest.raises(InputError, match="'x' is unknown"):
        Ddpm(**setting)


@pytest.mark.slow
def test_swin_unetr_trains_and_pads(batch):
    """Any multiple of 8 goes in; at first it gives the input back, and its loss reaches all weights."""
    method = method_named("swin-unetr")
    net = method.build((24,), (2,))
    u = torch.from_numpy(smooth_body((24, 16, 8)))
    with torch.no_grad():
        torch.testing.assert_close(method.predictor(net, 0.3, SPACING)(u, u, 0.3), u, rtol=1e-4, atol=1e-5)
        for parameter in net.net.out.parameters():
            parameter.normal_(0, 0.1)
    draws = method.draw(1, SHAPE[0], torch.Generator().manual_seed(1))
    method.loss(net, batch.part(slice(0, 1)), CALIBRATION, part_of(draws, slice(0, 1)))["loss"].backward()
    moved = [p.grad is not None and bool(p.grad.any()) for p in net.parameters()]
    assert sum(moved) >= 0.8 * len(moved)
