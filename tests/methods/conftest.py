"""What the tests of several methods share."""

import pytest
import torch

from mapdiff.cohort.patches import Batch
from mapdiff.dose import DOSES
from synthetic import FULL_LEVEL, nested_scans, smooth_body


@pytest.fixture(scope="module")
def batch():
    targets, scans = [], []
    for seed in range(2):
        z = smooth_body((16, 16, 16), seed)
        targets.append(torch.from_numpy(z)[None])
        scans.append(torch.stack([torch.from_numpy(y) for y in nested_scans(z, seed=seed).values()]))
    return Batch(
        scans=torch.stack(scans),
        target=torch.stack(targets),
        noise_free=torch.ones(2, dtype=torch.bool),
        doses=torch.tensor([float(d) for d in DOSES]),
        present=torch.ones(2, len(DOSES), dtype=torch.bool),
        level=torch.full((2,), FULL_LEVEL),
        spacing_mm=torch.full((2, 3), 4.0),
    )
