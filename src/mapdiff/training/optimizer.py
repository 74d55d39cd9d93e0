"""The optimisers that trainings use."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mapdiff.precision import best_precision

WEIGHT_DECAY = 1e-4
OPTIMIZERS = ("muon", "adamw")
#: A convolution with fewer channels on either side (exits, and entries that see few planes) is trained as
#: AdamW does. The denoisers' entry has 16 for each image it is shown (folded by 8, with local means).
HIDDEN = 16
MOMENTUM = 0.95
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.99), 1e-8
#: Coefficients of the quintic Newton-Schulz iteration and how often it is done: Jordan et al.
QUINTIC, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
#: Part of a matrix's norm below which an entry counts as zero.
TINY = 1e-7
#: Root mean square of a step of Adam's at a learning rate of 1, which Muon's is given.
ADAM_RMS = 0.2


def optimizer_for(name: str, trained: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The optimiser of that name, one of `OPTIMIZERS`, over the parameters of a turn."""
    if name == "muon":
        return Muon(trained, rate)
    return torch.optim.AdamW(trained, lr=rate, betas=ADAM_BETAS, weight_decay=WEIGHT_DECAY)


class Muon(torch.optim.Optimizer):
    """Muon for the hidden convolutions, Adam for all else (biases, conditions, exit).

    Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) makes of each step's momentum the nearest
    orthogonal matrix, so that all directions of a layer move alike; its steps are given the size of Adam's
    (Liu et al., arXiv 2502.16982), and with it Adam's learning rate. A convolution counts as the matrix of
    its first dimension by all others. `torch.optim.Muon` takes matrices only, and nothing else beside them.
    """

    def __init__(self, trained: Iterable[nn.Parameter], rate: float) -> None:
        """Take the parameters; `rate` is the learning rate, for both kinds."""
        super().__init__(list(trained), {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; `closure` is not used."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"])

    def _move(self, parameter: nn.Parameter, gradient: Tensor, rate: float) -> None:
        state: dict[str, Tensor] = self.state[parameter]
        hidden = trained_by_muon(parameter)
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            if not hidden:
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        parameter.mul_(1 - rate * WEIGHT_DECAY)
        mean = state["exp_avg"]
        if hidden:
            mean.lerp_(gradient, 1 - MOMENTUM)
            matrix = gradient.lerp(mean, MOMENTUM).flatten(1)  # Nesterov's momentum
            size = rate * ADAM_RMS * max(matrix.shape) ** 0.5
            parameter.sub_(size * orthogonal(matrix).view_as(parameter))
            return
        n, (first, second) = float(state["step"]), ADAM_BETAS
        mean.lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
        root = (square / (1 - second**n)).sqrt_().add_(ADAM_EPSILON)
        parameter.addcdiv_(mean, root, value=-rate / (1 - first**n))


def trained_by_muon(parameter: Tensor) -> bool:
    """Whether a parameter is the weight of a convolution that is wide enough, on both sides."""
    return parameter.ndim == 5 and min(parameter.shape[:2]) >= HIDDEN


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix of the same singular vectors whose singular values lie near 1 (0.7 to 1.2), in float32.

    Newton-Schulz with a quintic polynomial, in bfloat16 where that is fast: it does not mind the rounding.

    Args:
        matrix: (M, N).
    """
    a, b, c = QUINTIC
    # Channels that died leave a momentum that fades to subnormal numbers, whose products are a hundred times
    # slower; what is cut off here would come out below 1e-4 of the rest.
    x = functional.hardshrink(matrix / (matrix.norm() + 1e-7), TINY)
    x = x.bfloat16() if best_precision(matrix.device) == "bf16" else x
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = (x.T if tall else x).float()
    return found
