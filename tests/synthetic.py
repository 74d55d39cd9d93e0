"""Small synthetic bodies and nested scans of them, where a test needs no phantom and no projector."""

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.calibration import Anchor, Calibration, grid_of, nmae
from mapdiff.diffusion.dose_path import sigma, time_of
from mapdiff.diffusion.gaussian_calibration import gaussian_degradation
from mapdiff.dose import DOSES, dose_label
from mapdiff.methods.model_file import TrainedModel
from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet
from mapdiff.volume import Volume

#: Noise of a synthetic full-dose scan, NMAE against the noise-free image.
FULL_LEVEL = 0.06
SPACING_MM = (4.0, 4.0, 4.0)


def smooth_body(
    shape: tuple[int, int, int] = (24, 24, 16), seed: int = 0, hot: float = 6.0
) -> NDArray[np.float32]:
    """An ellipsoid of about 1 with smooth structure and one hot spot, faint air round it; (I, J, K)."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = (np.square(place / np.array([0.8, 0.7, 1.2])[:, None, None, None]).sum(axis=0) < 1).astype(float)
    texture = gaussian_filter(rng.standard_normal(shape), 3)
    body = inside * (1 + 0.3 * texture / texture.std())
    centre = tuple(int(n * f) for n, f in zip(shape, (0.45, 0.55, 0.5), strict=True))
    body[tuple(slice(c - 1, c + 2) for c in centre)] = hot
    return (gaussian_filter(body, 0.7) + 0.002).clip(min=0).astype(np.float32)


def nested_scans(
    z: NDArray[np.float32], level: float = FULL_LEVEL, seed: int = 0, doses: tuple[Fraction, ...] = DOSES
) -> dict[Fraction, NDArray[np.float32]]:
    """Scans of z at nested doses, from the highest to the lowest.

    The "counts" up to dose d are d z + s sqrt(z) B(d) with B a Brownian motion in d, so a lower dose is a
    part of a higher one, and the variance at dose d is s^2 z / d, as Poisson counts have it.
    """
    rng = np.random.default_rng([seed, 7])
    # NMAE of Gaussian noise of standard deviation s sqrt(z): s sqrt(2 / pi) sum sqrt(z) / sum z.
    s = level * np.sqrt(np.pi / 2) * z.sum() / np.sqrt(z).sum()
    brown, below, scans = np.zeros(z.shape), Fraction(0), {}
    for dose in sorted(doses):
        brown = brown + np.sqrt(float(dose - below)) * rng.standard_normal(z.shape)
        scans[dose] = (z + s * np.sqrt(z) * brown / float(dose)).astype(np.float32)
        below = dose
    return dict(sorted(scans.items(), reverse=True))


def volume_of(
    array: NDArray[np.float32], unit: str = "Bq/mL", spacing: tuple[float, float, float] = SPACING_MM
) -> Volume:
    """A volume with that voxel size."""
    return Volume(array, np.diag([*spacing, 1.0]), unit)


def low_dose_volume(
    shape: tuple[int, int, int] = (24, 24, 16), dose: Fraction = Fraction(1, 20), seed: int = 0
) -> Volume:
    """A scan of `smooth_body` at a dose, Bq/mL."""
    return volume_of(nested_scans(smooth_body(shape, seed), seed=seed)[dose] * np.float32(4000))


def nominal_calibration(full_level: float = FULL_LEVEL) -> Calibration:
    """The calibration of exactly nested scans: every dose at its nominal time."""
    grid = grid_of()
    anchors = {}
    for dose in DOSES[1:]:
        t = time_of(float(dose))
        anchors[dose_label(dose)] = Anchor(t, full_level * float(sigma(t)), t - 5, t + 5)
    simulated = tuple(float(v) for v in full_level * sigma(grid))
    body = smooth_body(shape=(48, 48, 32))
    gaussian = gaussian_degradation(body[body > 0.3], nmae)
    return Calibration(
        "nmae", anchors, tuple(float(t) for t in grid), simulated, 3, full_level, gaussian=gaussian
    )


def random_net(
    channels: tuple[int, ...] = (8, 16),
    blocks: tuple[int, ...] = (1, 1),
    seed: int = 0,
    size: float = 0.3,
    local_mean: int = 5,
    slope: float = DenoiserConfig.slope,
) -> DenoiserNet:
    """A denoiser whose every layer does something: the zero-initialised ones get random weights."""
    torch.manual_seed(seed)
    net = DenoiserNet(DenoiserConfig(channels, blocks, local_mean=local_mean, slope=slope))
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, size / max(parameter[0].numel(), 1) ** 0.5)
    return net.eval()


def blurring_net(
    seed: int = 0,
    channels: tuple[int, ...] = (8, 16),
    blocks: tuple[int, ...] = (1, 1),
    local_mean: int = 0,
) -> DenoiserNet:
    """A denoiser that averages the state over a few voxels, with a little of a random network on top.

    The mean over the neighbourhood is what the entry and the exit convolution can do by themselves: on a
    smooth body it is a fair estimate of the noise-free image, so noise levels and stages make sense. With a
    local mean taken off at the entry the blur is another one.
    """
    net = random_net(channels, blocks, seed=seed, size=0.008, local_mean=local_mean)
    with torch.no_grad():
        net.entry.weight.zero_()
        net.entry.bias.zero_()
        for n in range(8):  # the folded state comes first, the folded u second
            net.entry.weight[n, n, 1, 1, 1] = 1
        ramp = torch.tensor([0.2, 0.6, 0.2])
        net.exit.weight.copy_((ramp[:, None, None] * ramp[:, None] * ramp / 8).expand_as(net.exit.weight))
        net.exit.bias.zero_()
        for n in range(8):
            net.exit.weight[n, n, 1, 1, 1] -= 1
        for up in net.ups:
            up.weight.mul_(0.005)
            up.bias.zero_()
    return net


def small_trained_model(net: DenoiserNet | None = None) -> TrainedModel:
    """A model that no training made, for what does not depend on its quality."""
    facts = {"steps": 0, "note": "synthetic"}
    return TrainedModel("map-diff", net or blurring_net(), nominal_calibration(), (0.03, 1.2), facts)
