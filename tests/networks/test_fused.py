"""The fused forward pass is the network's own."""

import pytest
import torch

from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet, condition_of
from mapdiff.networks.fused import FusedDenoiser, _Convolution, fuses
from mapdiff.precision import best_precision
from synthetic import random_net

CPU = torch.device("cpu")
CONDITION = condition_of(torch.tensor([0.2]), torch.tensor([0.3]), (1.65, 1.65, 1.65))


def images(shape=(24, 16, 32)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state, u = (torch.randn(1, 1, *shape, generator=generator) for _ in range(2))
    return state, u


@pytest.mark.parametrize(
    ("channels", "blocks"), [((8, 16), (1, 1)), ((16, 24, 32), (2, 1, 2)), ((96, 128, 192), (2, 2, 2))]
)
def test_in_float32_it_is_the_same(channels, blocks):
    net = random_net(channels, blocks)
    with torch.inference_mode():
        expected = net(*images(), CONDITION)
        found = FusedDenoiser(net, CPU)(*images(), CONDITION)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_with_the_plain_rectifier_of_older_models_it_is_the_same():
    net = random_net((16, 24), (1, 2), slope=0.0)
    with torch.inference_mode():
        expected = net(*images(), CONDITION)
        torch.testing.assert_close(
            FusedDenoiser(net, CPU)(*images(), CONDITION), expected, rtol=1e-4, atol=1e-4
        )
        leaky = random_net((16, 24), (1, 2))(*images(), CONDITION)
    assert (leaky - expected).abs().max() > 1e-3


def test_without_onednn_it_is_the_same(monkeypatch):
    monkeypatch.setattr("mapdiff.networks.fused.fuses", lambda dtype: False)
    net = random_net((16, 24), (1, 2))
    with torch.inference_mode():
        found = FusedDenoiser(net, CPU)(*images(), CONDITION)
        torch.testing.assert_close(found, net(*images(), CONDITION), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(best_precision() != "bf16", reason="this processor has no bfloat16")
def test_in_bfloat16_it_is_nearly_the_same():
    """Within 2 % of the correction, RMS: bfloat16 has 8 bits, and each layer rounds."""
    net = random_net((32, 48, 64), (2, 2, 2), size=0.2)
    state, u = images()
    with torch.inference_mode():
        expected = net(state, u, CONDITION)
        found = FusedDenoiser(net, CPU, torch.bfloat16)(state, u, CONDITION)
    assert found.dtype == torch.float32
    error = (found - expected).square().mean().sqrt()
    assert 0 < error < 0.02 * (expected - state).square().mean().sqrt()


def test_the_network_and_the_images_are_left_as_they_are():
    net = random_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state, u = images()
    with torch.inference_mode():
        fused = FusedDenoiser(net, CPU, torch.bfloat16)
        one, again = fused(state, u, CONDITION), fused(state, u, CONDITION)
    assert torch.equal(one, again)
    assert torch.equal(state, images()[0]) and torch.equal(u, images()[1])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_untrained_it_is_the_identity_on_the_state():
    net = DenoiserNet(DenoiserConfig((8, 16), (1, 1)))
    state, u = images()
    with torch.inference_mode():
        assert torch.equal(FusedDenoiser(net, CPU)(state, u, CONDITION), state)


def test_a_broken_fusion_is_noticed(monkeypatch):
    """Where the library's fused step gives another result, it is not used."""
    fuses.cache_clear()
    plain = _Convolution.__call__

    def forgets_the_rectifier(self, x, slope=None):
        return plain(self, x, slope=slope if self.packed is None else None)

    monkeypatch.setattr(_Convolution, "__call__", forgets_the_rectifier)
    assert not fuses(torch.float32)
    fuses.cache_clear()
