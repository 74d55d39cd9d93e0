"""The denoiser: sees near, not far; starts as the identity; moves with the image."""

import math

import pytest
import torch

from mapdiff.networks.denoiser import (
    CONDITIONS,
    DenoiserConfig,
    DenoiserNet,
    condition_of,
    entry_planes,
    fold,
    rectified,
    unfold,
)
from synthetic import random_net

#: Voxels that the two-level network with one block per level sees to each side, at most: entry 2, a block on
#: the way down and one on the way up 4 each, the coarse block 8, its pooling 4, exit 2, the folding 2;
#: and the local mean 2.
REACH = 28
CONDITION = condition_of(torch.tensor([0.2]), torch.tensor([0.3]), (4.0, 4.0, 4.0))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_folding_is_undone_exactly():
    x = noise(2, 3, 4, 6, 8)
    folded = fold(x)
    assert folded.shape == (2, 24, 2, 3, 4) and torch.equal(unfold(folded), x)
    y = noise(2, 16, 3, 2, 5)
    assert torch.equal(fold(unfold(y)), y)


def test_a_folded_cell_holds_its_own_cube():
    x = torch.zeros(1, 1, 4, 4, 4)
    x[0, 0, 2:4, 0:2, 2:4] = 1
    folded = fold(x)
    assert folded[0, :, 1, 0, 1].sum() == 8 and folded.sum() == 8


@pytest.mark.parametrize(("channels", "blocks"), [((8,), (1,)), ((8, 16), (1, 2)), ((8, 12, 16), (1, 1, 1))])
def test_untrained_it_is_the_identity_on_the_state(channels, blocks):
    net = DenoiserNet(DenoiserConfig(channels, blocks))
    m = net.multiple
    assert m == 2 ** len(channels)
    state, u = noise(2, 1, m, 2 * m, 3 * m), noise(2, 1, m, 2 * m, 3 * m, seed=1)
    with torch.no_grad():
        out = net(state, u, noise(2, CONDITIONS))
    assert torch.equal(out, state)


def test_everything_plays_a_part():
    net = random_net()
    state, u = noise(1, 1, 16, 16, 16), noise(1, 1, 16, 16, 16, seed=1)
    with torch.no_grad():
        out = net(state, u, CONDITION)
        assert out.shape == state.shape and torch.isfinite(out).all()
        for changed in (
            net(state, u + 1, CONDITION) - out,
            net(state + 1, u, CONDITION) - out - 1,
            net(state, u, CONDITION + 1) - out,
        ):
            assert changed.abs().max() > 1e-3


def test_gradients_reach_every_weight():
    net = random_net()
    net(noise(1, 1, 16, 16, 16), noise(1, 1, 16, 16, 16, seed=1), CONDITION).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_untrained_layers_keep_the_size_of_what_comes_in():
    """So that the coarse levels begin with a signal as large as the fine one's."""
    torch.manual_seed(0)
    net = DenoiserNet(DenoiserConfig((32, 48, 64), (1, 1, 1)))
    x = noise(1, 32, 16, 16, 16)
    for layer, given in ((net.downs[0], x), (net.ups[0], noise(1, 48, 8, 8, 8))):
        assert float(layer(given).std()) == pytest.approx(1, rel=0.1)
    block = net.down_blocks[0][0]
    hidden = block.conv1(rectified(x.clone(), 0.0))[:, :, 1:-1, 1:-1, 1:-1]
    assert float(hidden.square().mean().sqrt()) == pytest.approx(1, rel=0.1)
    assert torch.equal(block(x, torch.zeros(1, 64)), x)


@pytest.mark.parametrize(("slope", "alive"), [(0.0, False), (0.1, True)])
def test_a_unit_that_is_never_active_can_come_back(slope, alive):
    """With a plain rectifier it gets no gradient: so whole layers died, and stayed dead."""
    net = random_net(slope=slope)
    block = net.down_blocks[1][0]
    with torch.no_grad():
        block.conv1.bias.fill_(-100)
    net(noise(1, 1, 16, 16, 16), noise(1, 1, 16, 16, 16, seed=1), CONDITION).square().mean().backward()
    assert bool((block.conv1.weight.grad.flatten(1).abs().amax(dim=1) > 0).all()) == alive


def test_what_is_far_away_does_not_matter():
    """No statistics over space: a change beyond the receptive field, however large, changes nothing."""
    net = random_net()
    state, u = noise(1, 1, 96, 8, 8), noise(1, 1, 96, 8, 8, seed=1)
    far_state, far_u = state.clone(), u.clone()
    far_state[:, :, 64:] = 1e3
    far_u[:, :, 64:] = -1e3
    with torch.no_grad():
        one, other = net(state, u, CONDITION), net(far_state, far_u, CONDITION)
    same = (one - other).abs().amax(dim=(0, 1, 3, 4))
    assert same[: 64 - REACH].max() < 1e-5
    assert same[56:64].max() > 1e-2  # but what is near does


def test_it_moves_with_the_image():
    """A shift by the pooling's multiple commutes with the network, away from the borders."""
    net = random_net()
    m = net.multiple
    state, u = noise(1, 1, 80, 16, 16), noise(1, 1, 80, 16, 16, seed=1)
    with torch.no_grad():
        out = net(state, u, CONDITION)
        shifted = net(state.roll(m, dims=2), u.roll(m, dims=2), CONDITION)
    inner = slice(REACH + m, 80 - REACH)
    torch.testing.assert_close(shifted[:, :, inner], out.roll(m, dims=2)[:, :, inner], rtol=1e-4, atol=1e-5)


def test_patches_of_a_batch_do_not_mix():
    net = random_net()
    state, u = noise(3, 1, 8, 8, 8), noise(3, 1, 8, 8, 8, seed=1)
    condition = noise(3, CONDITIONS, seed=2)
    with torch.no_grad():
        together = net(state, u, condition)
        for n in range(3):
            one = net(state[n : n + 1], u[n : n + 1], condition[n : n + 1])
            torch.testing.assert_close(together[n : n + 1], one, rtol=1e-4, atol=1e-5)


def test_the_condition_is_centred_and_logarithmic():
    centre = condition_of(torch.tensor([0.3]), torch.tensor([0.3]), (3.0, 3.0, 3.0))
    assert torch.equal(centre, torch.zeros(1, CONDITIONS))
    levels = torch.tensor([0.1, 0.6])
    one = condition_of(levels, torch.tensor([0.3, 0.9]), torch.tensor([[3.0, 3.0, 6.0], [1.5, 3.0, 3.0]]))
    assert one.shape == (2, CONDITIONS)
    expected = [
        [math.log(1 / 3), 0, 0, 0, math.log(2)],
        [math.log(2), math.log(3), math.log(0.5), 0, 0],
    ]
    torch.testing.assert_close(one, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_the_configuration_rebuilds_the_network():
    config = DenoiserConfig((8, 16), (2, 1))
    again = DenoiserConfig.from_dict({**config.as_dict(), "channels": [8, 16]})
    assert again == config
    net, copy = DenoiserNet(config), DenoiserNet(again)
    copy.load_state_dict(net.state_dict())


def test_models_of_before_local_means_and_slopes_are_rebuilt_without():
    facts = DenoiserConfig((8, 16), (2, 1)).as_dict()
    del facts["local_mean"], facts["slope"]
    config = DenoiserConfig.from_dict(facts)
    assert config.local_mean == 0 and config.slope == 0 and DenoiserNet(config).entry.in_channels == 16
    state, u = noise(1, 1, 8, 8, 8), noise(1, 1, 8, 8, 8, seed=1)
    assert torch.equal(entry_planes(state, u, config), torch.cat([state, u], dim=1))


def test_the_entry_sees_contrast_and_mean_apart():
    """However hot the surroundings, an edge of the same height is the same there."""
    state, u = noise(1, 1, 12, 12, 12), noise(1, 1, 12, 12, 12, seed=1)
    config = DenoiserConfig()
    cold, hot = entry_planes(state, u, config), entry_planes(state + 8, u + 8, config)
    assert cold.shape == (1, config.planes, 12, 12, 12) == (1, 4, 12, 12, 12)
    torch.testing.assert_close(cold[:, :2], hot[:, :2], rtol=0, atol=1e-5)
    assert (hot[:, 2:] > cold[:, 2:] + 0.5).all() and hot[:, 2:].max() < 2
    alone = entry_planes(state, u, DenoiserConfig(images=1))
    assert torch.equal(alone, cold[:, [1, 3]])
