"""Muon moves all directions of a hidden convolution alike; what it leaves to Adam moves as torch's Adam."""

import copy

import pytest
import torch
from torch import nn

from mapdiff.methods.registry import method_named
from mapdiff.training.checkpoint import load_state, save_state, start_state
from mapdiff.training.optimizer import (
    ADAM_BETAS,
    ADAM_RMS,
    WEIGHT_DECAY,
    Muon,
    optimizer_for,
    orthogonal,
    trained_by_muon,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """A narrow entry, a hidden convolution, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.entry = nn.Conv3d(8, 32, 3)
        self.hidden = nn.Conv3d(32, 48, 3)
        self.linear = nn.Linear(64, 64)


def with_gradients(net: nn.Module, seed: int, size: float = 1.0) -> None:
    for n, parameter in enumerate(net.parameters()):
        parameter.grad = size * drawn(*parameter.shape, seed=100 * seed + n)


@pytest.mark.parametrize("shape", [(32, 200), (200, 32), (48, 48)])
def test_singular_values_come_near_one_and_their_vectors_stay(shape):
    u, _, vh = torch.linalg.svd(drawn(*shape), full_matrices=False)
    values = torch.logspace(-1.5, 0, min(shape))  # of a matrix that leans to few directions
    found = orthogonal(u @ torch.diag(values) @ vh)
    core = u.T @ found @ vh.T
    assert torch.diag(core).min() > 0.6 and torch.diag(core).max() < 1.3
    assert (core - torch.diag(torch.diag(core))).abs().max() < 0.05  # bfloat16


def test_a_hidden_step_has_adams_size_whatever_the_gradients():
    before = Net()
    for size in (1e-3, 1e3):
        net = Net()
        with_gradients(net, 1, size)
        Muon(net.parameters(), 0.01).step()
        step = (net.hidden.weight - before.hidden.weight).detach().square().mean().sqrt()
        assert float(step) == pytest.approx(0.01 * ADAM_RMS, rel=0.2)


def test_the_rest_is_torchs_adam():
    """AdamW of torch decays the weights the same way; the hidden convolution moves otherwise."""
    net, other = Net(), Net()
    ours = optimizer_for("muon", net.parameters(), 0.01)
    theirs = torch.optim.AdamW(other.parameters(), lr=0.01, betas=ADAM_BETAS, weight_decay=WEIGHT_DECAY)
    for seed in range(4):
        for one, optimizer in ((net, ours), (other, theirs)):
            with_gradients(one, seed)
            optimizer.step()
    for (name, one), two in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6) == (name != "hidden.weight"), name


@pytest.mark.parametrize("method", ["map-diff", "unet", "ddpm", "map-diff-paper"])
def test_one_rule_holds_for_all_denoisers(method):
    """Of their convolutions all but the exit are Muon's, whether they are shown one image or two."""
    net = method_named(method).build((32, 64, 96), (1, 1, 1))
    left = {name for name, p in net.named_parameters() if p.ndim == 5 and not trained_by_muon(p)}
    assert left == {"exit.weight"}


def test_what_has_no_gradient_stays():
    net, before = Net(), Net()
    with_gradients(net, 0)
    net.hidden.weight.grad = None
    Muon(net.parameters(), 0.01).step()
    assert torch.equal(net.hidden.weight, before.hidden.weight)
    assert not torch.equal(net.hidden.bias, before.hidden.bias)


def test_its_state_is_kept_in_a_file_to_the_bit(tmp_path):
    net = Net().to(memory_format=torch.channels_last_3d)
    state = start_state(net, {"all": Muon(net.parameters(), 0.01)})
    with_gradients(net, 0)
    state.optimizers["all"].step()
    save_state(state, tmp_path / "state.safetensors", {})
    again = Net().to(memory_format=torch.channels_last_3d)
    back = start_state(again, {"all": Muon(again.parameters(), 0.01)})
    load_state(back, tmp_path / "state.safetensors")
    for one in (state, back):
        with_gradients(one.net, 1)
        one.optimizers["all"].step()
    for (name, one), two in zip(net.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert copy.deepcopy(back.optimizers["all"].state_dict())["param_groups"][0]["lr"] == 0.01
