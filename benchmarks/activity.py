"""Which hidden units of a trained denoiser ever rise above zero: a count for each residual block.

    python benchmarks/activity.py COHORT --model map-diff [--model FILE ...]

The network is shown cubes along the middle of each body of a simulated cohort, at a twentieth and a quarter
of the dose. A unit that is never above zero in any of them is dead where the rectifier is plain: it adds
nothing, and gets no gradient to come back by. Where it is leaky it is a linear one.
"""

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mapdiff.body import body_mask, body_scale
from mapdiff.cohort.layout import doses_of, truth_path
from mapdiff.diffusion.transform import transform
from mapdiff.evaluation.metrics import nmae
from mapdiff.formats import read
from mapdiff.inference import Denoiser
from mapdiff.networks.denoiser import DenoiserNet, ResidualBlock, condition_of
from mapdiff.networks.gan import GanNet

DOSES = (Fraction(1, 20), Fraction(1, 4))
#: Edge of a cube in voxels, and how many stand above each other in a body.
EDGE, CUBES = 64, 3


def cubes(subject: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs (1, 1, I, J, K) on the transformed scale, and their conditions (1, CONDITIONS)."""
    truth = read(truth_path(subject, subject.name, "noisefree"))
    for dose in DOSES:
        scan = read(doses_of(subject)[dose])
        body = body_mask(scan.array, scan.spacing)
        level = torch.tensor([nmae(scan.array, truth.array, mask=body).value])
        image = (scan.array / body_scale(scan.array, body)).astype(np.float32)
        middle = np.median(np.argwhere(body), axis=0).astype(int)
        i, j = (max(0, m - EDGE // 2) for m in middle[:2])
        for k in np.unique(np.linspace(0, max(image.shape[2] - EDGE, 0), CUBES).astype(int)):
            cube = image[i : i + EDGE, j : j + EDGE, k : k + EDGE]
            cube = cube[tuple(slice(n - n % 8) for n in cube.shape)]
            u = transform(torch.from_numpy(np.ascontiguousarray(cube)))[None, None]
            yield u, condition_of(level, level, scan.spacing)


def never_above_zero(net: DenoiserNet, inputs: Iterator[tuple[Tensor, Tensor]]) -> dict[str, tuple[int, int]]:
    """For each residual block: units of its hidden layer that are never above zero, and all."""
    risen: dict[str, Tensor] = {}

    def watch(name: str, block: ResidualBlock) -> None:
        def look(module: object, given: object, out: Tensor) -> None:
            above = (out > 0).flatten(2).any(dim=2).any(dim=0)
            risen[name] = risen.get(name, torch.zeros_like(above)) | above

        block.conv1.register_forward_hook(look)

    for name, module in net.named_modules():
        if isinstance(module, ResidualBlock):
            watch(name, module)
    with torch.inference_mode():
        for u, condition in inputs:
            net(u, u, condition)
    return {name: (int((~above).sum()), len(above)) for name, above in risen.items()}


def main() -> None:
    """Count and print, as JSON lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--model", action="append", required=True, help="a shipped model's name or a file")
    arguments = parser.parse_args()
    subjects = sorted(arguments.cohort.glob("sub-*"))
    for model in arguments.model:
        net = Denoiser.from_pretrained(model, "cpu").model.net
        denoiser = net.generator if isinstance(net, GanNet) else net
        found = never_above_zero(denoiser, (cube for subject in subjects for cube in cubes(subject)))
        dead, units = (sum(counts) for counts in zip(*found.values(), strict=True))
        print(json.dumps({"model": model, "never above zero": dead, "units": units, "blocks": found}))


if __name__ == "__main__":
    main()
