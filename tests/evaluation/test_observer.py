"""The channelised Hotelling observer against its closed form in white noise."""

import numpy as np
import pytest
from scipy.stats import norm

from mapdiff.errors import InputError
from mapdiff.evaluation import observer
from mapdiff.evaluation.observer import (
    auc_of,
    channel_outputs,
    detectability,
    difference,
    dog_channels,
    ideal_auc,
)

EDGE, SPACING = 11, (4.0, 4.0, 4.0)
CHANNELS = dog_channels((EDGE,) * 3, SPACING)


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(observer, "RESAMPLES", 300)


def blob(height: float, sigma_mm: float = 6.0) -> np.ndarray:
    place = np.stack(np.meshgrid(*[(np.arange(EDGE) - EDGE // 2) * s for s in SPACING], indexing="ij"))
    return height * np.exp(-np.square(place).sum(0) / (2 * sigma_mm**2))


def pairs(signal, count, seed=0, noise=1.0):
    """Channel outputs of signal in white noise, and of other noise alone."""
    rng = np.random.default_rng(seed)
    present, absent = noise * rng.standard_normal((2, count, signal.size))
    return (present + signal.ravel()) @ CHANNELS, absent @ CHANNELS


def test_channels_are_centred_and_symmetric():
    images = CHANNELS.T.reshape(-1, EDGE, EDGE, EDGE)
    for image in images:
        assert np.allclose(image, image[::-1]) and np.allclose(image, image.transpose(1, 0, 2))
        assert np.unravel_index(image.argmax(), image.shape) == (EDGE // 2,) * 3
        assert np.linalg.norm(image) == pytest.approx(1)
    assert np.linalg.matrix_rank(CHANNELS) == CHANNELS.shape[1]
    assert np.abs(CHANNELS.sum(axis=0)).max() < 1e-10  # no channel sees a constant


@pytest.mark.parametrize("height", [0.35, 0.7])
def test_the_auc_is_the_closed_form_in_white_noise(height):
    signal = blob(height)
    found = detectability(*pairs(signal, 3000))
    assert found.auc == pytest.approx(ideal_auc(signal, CHANNELS, 1.0), abs=0.02)
    assert found.low < found.auc < found.high and found.pairs == 3000


def test_for_a_signal_among_the_channels_it_is_the_ideal_observer():
    """Its SNR is then that of the matched filter, |s| / sigma."""
    signal = 1.4 * CHANNELS[:, 2].reshape((EDGE,) * 3)
    assert ideal_auc(signal, CHANNELS, 2.0) == pytest.approx(norm.cdf(1.4 / 2 / 2**0.5))


def test_without_a_signal_it_is_chance_though_few_pairs_are_seen():
    """A template that was made from the patches it judges would see something in 40 of them."""
    found = [detectability(*pairs(blob(0.0), 40, seed)).auc for seed in range(20)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    signal = blob(0.5)
    truth = ideal_auc(signal, CHANNELS, 1.0)
    hits = 0
    for seed in range(30):
        found = detectability(*pairs(signal, 250, seed))
        hits += found.low <= truth <= found.high
    assert hits >= 24  # 28.5 expected; a template from 200 pairs is a little worse than the best


def test_pairs_of_one_body_are_not_independent():
    """Where they share half of their noise, an interval over pairs is too narrow, one over bodies is not."""
    signal, shared = blob(0.7), 1.0
    dv, covariance = CHANNELS.T @ signal.ravel(), (1 + shared**2) * CHANNELS.T @ CHANNELS
    truth = norm.cdf(np.sqrt(dv @ np.linalg.solve(covariance, dv) / 2))
    bodies = np.repeat(np.arange(24), 8)
    hits, widths = {"pairs": 0, "bodies": 0}, {"pairs": 0.0, "bodies": 0.0}
    for seed in range(30):
        rng = np.random.default_rng(100 + seed)
        common = shared * rng.standard_normal((2, 24, signal.size)) @ CHANNELS
        present, absent = (p + c[bodies] for p, c in zip(pairs(signal, 192, seed), common, strict=True))
        for name, given in (("pairs", None), ("bodies", bodies)):
            found = detectability(present, absent, given)
            hits[name] += found.low <= truth <= found.high
            widths[name] += found.high - found.low
    assert widths["bodies"] > 1.5 * widths["pairs"]
    assert hits["bodies"] >= 22 > hits["pairs"]


def test_scaling_or_mixing_the_channels_changes_nothing():
    present, absent = pairs(blob(0.5), 200)
    one = detectability(present, absent)
    mixed = np.random.default_rng(1).standard_normal((5, 5))
    other = detectability(7 * present @ mixed, 7 * absent @ mixed)
    assert other.auc == pytest.approx(one.auc, abs=1e-9)


def test_noise_lowers_it_and_the_difference_says_so():
    signal = blob(0.6)
    quiet, loud = pairs(signal, 300), pairs(signal, 300, noise=2.0)
    found = difference(loud, quiet)
    expected = ideal_auc(signal, CHANNELS, 2.0) - ideal_auc(signal, CHANNELS, 1.0)
    assert found.high < 0 and found.auc == pytest.approx(expected, abs=0.05)
    same = difference(quiet, quiet)
    assert same.auc == same.low == same.high == 0


def test_auc_by_hand():
    assert auc_of(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == (0.5 + 1 + 1 + 1) / 4


def test_patches_are_cut_where_they_are():
    image = np.zeros((20, 20, 20))
    image[9, 10, 11] = 1.0
    out = channel_outputs([image], [[(9, 10, 11)]], CHANNELS, EDGE)
    middle = CHANNELS.reshape(EDGE, EDGE, EDGE, -1)[EDGE // 2, EDGE // 2, EDGE // 2]
    np.testing.assert_allclose(out[0], middle)
    with pytest.raises(InputError, match="beyond"):
        channel_outputs([image], [[(2, 10, 10)]], CHANNELS, EDGE)


def test_what_cannot_be_is_refused():
    present, absent = pairs(blob(0.5), 40)
    with pytest.raises(InputError, match="against"):
        detectability(present, absent[:-1])
    with pytest.raises(InputError, match="too few"):
        detectability(present[:8], absent[:8])
    with pytest.raises(InputError, match="the pairs of 4 bodies cannot be cut into 5 folds"):
        detectability(present, absent, np.arange(40) % 4)
    with pytest.raises(InputError, match="middle"):
        dog_channels((10, 11, 11), SPACING)
