"""Lesion detectability by a channelised Hotelling observer (CHO).

An image patch g round a known place is reduced to a few channel outputs v = U^T g, and signal-present are
told from signal-absent patches by the best linear template for those (Barrett and Myers, Foundations of Image
Science, ch. 14):  w = S^-1 (mean v_1 - mean v_0),  lambda = w^T v.  The channels are differences of Gaussians
in spatial frequency (after Abbey and Barrett 2001), five, and in 3D, since lesions are.

Patches of one body share its anatomy and its noise, so bodies, not pairs, are what folds are cut by and
what the bootstrap draws; the templates stay as they are in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mapdiff.bootstrap import percentiles
from mapdiff.errors import InputError

Floats = NDArray[np.float64]
Bodies = Sequence[int] | NDArray[np.int64] | None
#: Differences of Gaussians: ratio of neighbouring widths, and of the two Gaussians of one channel.
ALPHA, Q = 2.0, 2.0
#: Width of the first channel, 1/mm: it passes what is as large as four centimetres.
FIRST_PER_MM = 0.006
CHANNELS, FOLDS, RESAMPLES = 5, 5, 2000


@dataclass(frozen=True)
class Detectability:
    """How well an observer tells signal from none.

    Attributes:
        auc: area under the ROC curve, of patches the template was not made from.
        low: lower end of its 95 % interval, by bootstrap over bodies.
        high: upper end.
        pairs: signal-present and signal-absent patches, each so many.
    """

    auc: float
    low: float
    high: float
    pairs: int


def dog_channels(
    shape: Sequence[int], spacing_mm: Sequence[float], channels: int = CHANNELS
) -> NDArray[np.float64]:
    """Difference-of-Gaussians channels centred on the patch's middle voxel.

    C_j(f) = exp(-(f / (Q s_j))^2 / 2) - exp(-(f / s_j)^2 / 2), s_j = s_1 alpha^(j-1).

    Args:
        shape: of a patch, odd numbers of voxels.
        spacing_mm: voxel size.
        channels: how many.

    Returns:
        (voxels, channels), each column of length 1.

    Raises:
        InputError: an even edge, which has no middle voxel.
    """
    if any(n % 2 == 0 for n in shape):
        raise InputError(f"a patch of {tuple(shape)} voxels has no middle voxel")
    axes = [np.fft.fftfreq(n, s) for n, s in zip(shape, spacing_mm, strict=True)]
    f = np.sqrt(sum(np.square(a) for a in np.meshgrid(*axes, indexing="ij")))
    columns = []
    for j in range(channels):
        width = FIRST_PER_MM * ALPHA**j
        response = np.exp(-((f / (Q * width)) ** 2) / 2) - np.exp(-((f / width) ** 2) / 2)
        image = np.fft.fftshift(np.fft.ifftn(response).real)
        columns.append(image.ravel() / np.linalg.norm(image))
    return np.stack(columns, axis=1)


def ideal_auc(signal: Floats, channels: Floats, noise_sd: float) -> float:
    """The AUC that the channelised observer tends to in white noise: Phi(SNR / sqrt 2).

    SNR^2 = dv^T (sigma^2 U^T U)^-1 dv with dv = U^T signal.
    """
    dv = channels.T @ signal.ravel()
    snr2 = dv @ np.linalg.solve(noise_sd**2 * channels.T @ channels, dv)
    return float(norm.cdf(np.sqrt(snr2 / 2)))


def auc_of(present: Floats, absent: Floats) -> float:
    """Mann and Whitney's estimate: how often a present score exceeds an absent one; ties count half."""
    order = np.sort(absent)
    below = np.searchsorted(order, present, side="left")
    up_to = np.searchsorted(order, present, side="right")
    return float((below + up_to).mean() / 2 / len(absent))


def scores(
    present: Floats, absent: Floats, bodies: Bodies = None, folds: int = FOLDS, seed: int = 0
) -> tuple[Floats, Floats, Any]:
    """Decision variables of channel outputs, each by a template made without its fold.

    Args:
        present: (pairs, channels) outputs of signal-present patches.
        absent: the same of signal-absent ones; pair n has one place and one fold.
        bodies: (pairs,) the body of each pair; None: each has its own. A body's pairs have one fold.
        folds: parts that the bodies are cut into.
        seed: of the cut.

    Returns:
        (pairs,) scores of the present, of the absent, and (pairs,) the fold of each pair.

    Raises:
        InputError: the two differ in number, or there are too few bodies, or pairs for a covariance.
    """
    pairs, channels = present.shape
    if present.shape != absent.shape:
        raise InputError(f"{len(present)} signal-present patches against {len(absent)} signal-absent ones")
    if pairs * (folds - 1) // folds < 2 * channels:
        raise InputError(f"{pairs} pairs are too few for {channels} channels in {folds} folds")
    body = _numbered(bodies, pairs)
    count = int(body.max()) + 1
    if count < folds:
        raise InputError(f"the pairs of {count} bodies cannot be cut into {folds} folds")
    fold = np.random.default_rng(seed).permutation(np.arange(count) % folds)[body]
    of_present, of_absent = np.empty(pairs), np.empty(pairs)
    for n in range(folds):
        train, test = fold != n, fold == n
        covariance = (np.cov(present[train], rowvar=False) + np.cov(absent[train], rowvar=False)) / 2
        template = np.linalg.solve(covariance, present[train].mean(0) - absent[train].mean(0))
        of_present[test], of_absent[test] = present[test] @ template, absent[test] @ template
    return of_present, of_absent, fold


def _numbered(bodies: Bodies, pairs: int) -> Any:
    """(pairs,) bodies as numbers from 0 without a gap."""
    given = np.arange(pairs) if bodies is None else np.asarray(bodies)
    return np.unique(given, return_inverse=True)[1]


def _auc_by_fold(present: Floats, absent: Floats, fold: Any, index: Any) -> float:
    """Mean over the folds, whose templates differ, weighted by their pairs."""
    total = 0.0
    for n in np.unique(fold[index]):
        chosen = index[fold[index] == n]
        total += len(chosen) * auc_of(present[chosen], absent[chosen])
    return total / len(index)


def detectability(present: Floats, absent: Floats, bodies: Bodies = None, seed: int = 0) -> Detectability:
    """AUC with its interval from channel outputs, (pairs, channels) each; arguments as in `scores`."""
    side = scores(present, absent, bodies, seed=seed)
    return _interval(lambda index: _auc_by_fold(*side, index), _numbered(bodies, len(present)), seed)


def difference(
    after: tuple[Floats, Floats], before: tuple[Floats, Floats], bodies: Bodies = None, seed: int = 0
) -> Detectability:
    """AUC after processing minus AUC before, of the same pairs, with the interval of the difference.

    Args:
        after: channel outputs (present, absent) of the processed images.
        before: of the same pairs as they were.
        bodies: (pairs,) the body of each pair; None: each has its own.
        seed: of folds and bootstrap.

    Raises:
        InputError: the pairs are not the same in number.
    """
    if len(after[0]) != len(before[0]):
        raise InputError(f"{len(after[0])} pairs after against {len(before[0])} before")
    one, other = (scores(*side, bodies, seed=seed) for side in (after, before))
    return _interval(
        lambda index: _auc_by_fold(*one, index) - _auc_by_fold(*other, index),
        _numbered(bodies, len(before[0])),
        seed,
    )


def _interval(figure: Callable[[Any], float], body: Any, seed: int) -> Detectability:
    """A figure of pairs, told by their indices, and its widened percentile interval over bodies."""
    of_body = [np.flatnonzero(body == n) for n in range(int(body.max()) + 1)]
    rng = np.random.default_rng(seed)
    drawn = [
        figure(np.concatenate([of_body[n] for n in rng.integers(0, len(of_body), len(of_body))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, percentiles(len(of_body)))
    return Detectability(figure(np.arange(len(body))), float(low), float(high), len(body))


def channel_outputs(
    images: Sequence[NDArray[Any]],
    places: Sequence[Sequence[tuple[int, int, int]]],
    channels: Floats,
    edge: int,
) -> Floats:
    """Channel outputs of the patches round known places.

    Args:
        images: (I, J, K) each.
        places: of each image, its patches' middle voxels.
        channels: from `dog_channels` for patches of edge^3.
        edge: of a patch, voxels.

    Returns:
        (patches, channels), image by image.

    Raises:
        InputError: a patch reaches beyond its image.
    """
    half, rows = edge // 2, []
    for image, centres in zip(images, places, strict=True):
        for centre in centres:
            box = tuple(slice(c - half, c + half + 1) for c in centre)
            if any(s.start < 0 or s.stop > n for s, n in zip(box, image.shape, strict=True)):
                raise InputError(f"the patch round voxel {centre} reaches beyond the image {image.shape}")
            rows.append(image[box].astype(np.float64).ravel() @ channels)
    return np.stack(rows)
