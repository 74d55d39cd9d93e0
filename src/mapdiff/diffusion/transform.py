"""The intensity transform: PET values to the scale that the networks see, and exactly back."""

from typing import Any

import torch
from torch import Tensor

#: Keeps the root's slope finite at zero, in units of the body's mean.
OFFSET = 0.05

# Threads that make a process's first call of MKL's square root at once may find it half resolved, and one of
# them then works at a relative precision of 3e-4 (pytorch issue 188792). A call by one thread resolves it.
for _dtype in (torch.float32, torch.float64):
    torch.sqrt(torch.ones(1, dtype=_dtype))


def transform(values: Tensor) -> Tensor:
    """A signed square root, T(v) = sign(v) (sqrt(|v| + c) - sqrt(c)).

    It makes the noise of OSEM images nearly uniform. Odd, strictly rising and unbounded: nothing is clipped.

    Args:
        values: activity divided by the body's mean, any shape; negative values are allowed.
    """
    root = torch.sqrt(values.abs() + OFFSET) - OFFSET**0.5
    return torch.copysign(root, values)


def invert(x: Tensor) -> Tensor:
    """The inverse of `transform`: T^-1(x) = sign(x) ((|x| + sqrt(c))^2 - c)."""
    magnitude = x.abs()
    values: Tensor = x * (magnitude + 2 * OFFSET**0.5)
    return values


def settings() -> dict[str, Any]:
    """What a model file records of the transform, to be checked when it is read."""
    return {"name": "signed-root", "offset": OFFSET}
