"""A body and its scans are the same on every kind of processor."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy._core import _multiarray_umath as numpy_core

from mapdiff.simulate.portable import exp, power

#: Draws a body, scans two parts of it, and prints what came out, to the last bit.
SCRIPT = """
import hashlib
from fractions import Fraction
import numpy as np
from mapdiff.simulate.phantom import draw_body
from mapdiff.simulate.scan import simulate_scan
from mapdiff.simulate.scanner import scanner_named
from mapdiff.simulate.subject import draw_subject

rng = np.random.default_rng([5, 1])
body = draw_body(rng, draw_subject(rng, "quadra"), 3)
found = hashlib.sha256()
for depth in (80.0, 700.0):  # the head, the trunk
    rasters = body.rasterise((6.0, 6.0, 6.0), (90, 90, 8), (0.0, 0.0, body.z_extent_mm[1] - depth))
    assert (rasters.suv > 0.1).mean() > 0.05
    doses = (Fraction(1), Fraction(1, 20))
    activity, scanner = rasters.suv * np.float32(2000), scanner_named("quadra")
    scan = simulate_scan(activity, rasters.mu, (6.0, 6.0, 6.0), scanner, 600.0, doses, rng)
    for image in (rasters.suv, rasters.mu, scan.noise_free, *(scan.doses[dose] for dose in doses)):
        found.update(image.tobytes())
print(found.hexdigest())
"""


def simulated(**settings: str) -> str:
    """What a process prints whose libraries take the processor for another."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_scan_is_the_same_where_libraries_have_other_code():
    plain = " ".join(numpy_core.__cpu_dispatch__)  # all that numpy has of its own for some processors
    here = simulated()
    assert len(here) == 64
    assert simulated(OPENBLAS_CORETYPE="Nehalem") == here
    assert simulated(NPY_DISABLE_CPU_FEATURES=plain) == here


def test_exponentials_are_the_nearest_numbers():
    x = np.linspace(-20, 5, 10001, dtype=np.float32)
    np.testing.assert_array_equal(exp(x), np.exp(x.astype(np.longdouble)).astype(np.float32))


@pytest.mark.parametrize("exponent", [0.5, 2.5, 1 / 2.5, -1.0, -1.5])
def test_powers_are_the_nearest_numbers(exponent):
    x = np.linspace(0.001, 3, 10001, dtype=np.float32)
    exact = x.astype(np.longdouble) ** np.longdouble(exponent)
    np.testing.assert_array_equal(power(x, exponent), exact.astype(np.float32))
