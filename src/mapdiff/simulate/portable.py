"""Exponentials and powers of float32 arrays that come out the same on every processor.

Libraries have their own single-precision code for each kind of processor, and it rounds differently. A body
that differs in its last digits has other counts, so that a cohort would be another one on another machine.
Worked out in float64 and then rounded, results agree but for one in some hundred million.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]


def exp(values: Reals) -> Floats:
    """e to the values, float32."""
    found: Floats = np.exp(values.astype(np.float64)).astype(np.float32)
    return found


def power(values: Reals, exponent: float) -> Floats:
    """The values, 0 or more, to a power, float32."""
    if exponent == 0.5:  # exact anyway, and fast
        return np.sqrt(values.astype(np.float32))
    if exponent == -1:
        return np.float32(1) / values.astype(np.float32)
    found: Floats = (values.astype(np.float64) ** exponent).astype(np.float32)
    return found
