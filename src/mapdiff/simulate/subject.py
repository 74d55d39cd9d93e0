"""Who is scanned: sex, size, activity and uptake time, drawn as in a real multi-dose cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Subject:
    """One person before the scan.

    Attributes:
        sex: "F" or "M".
        height_cm: height, cm.
        weight_kg: weight, kg.
        arms_up: arms above the head, or beside the trunk.
        injected_activity_bq: activity at the time of injection, Bq.
        uptake_s: seconds from injection to the start of the scan.
    """

    sex: str
    height_cm: float
    weight_kg: float
    arms_up: bool
    injected_activity_bq: float
    uptake_s: float


@dataclass(frozen=True)
class CohortFigures:
    """Mean, SD and limits of a cohort; all figures are of subjects, not of scans.

    Height in cm, weight in kg, activity in MBq, uptake in minutes. The correlations are of weight with
    height and with activity. Weight and uptake are skewed to the right, so both are drawn log-normal.
    """

    height: tuple[float, float, float, float]
    weight: tuple[float, float, float, float]
    activity: tuple[float, float, float, float]
    uptake: tuple[float, float, float, float]
    weight_height: float
    weight_activity: float


#: Own summary (mean, SD, 1st and 99th percentile) of `data_stats.csv` of KUL-recon-lab/2025_ud_pet_kul,
#: Apache-2.0: the metadata of the UDPET cohort, one row per subject, without rows of activity outside
#: 50..600 MBq, uptake outside 30..150 min or height outside 130..210 cm (374 of 377 Quadra subjects, 978 of
#: 994 uEXPLORER subjects are left, 1352 together).
COHORTS = {
    "quadra": CohortFigures(
        (170, 9, 150, 191),
        (72.9, 15.9, 44.8, 118),
        (218.8, 49.4, 132, 347),
        (69.2, 10.5, 52, 105),
        0.49,
        0.96,
    ),
    "uexplorer": CohortFigures(
        (165, 8, 150, 184), (63.6, 11.9, 40, 94), (219.8, 49.8, 60, 348), (68.7, 21.1, 38, 129), 0.59, 0.73
    ),
}
POOLED = CohortFigures(
    (167, 8.4, 150, 188), (66.1, 13.8, 40, 110.6), (219.5, 49.7, 60, 348), (68.9, 18.7, 38, 128.5), 0.58, 0.76
)

#: Mean difference of the heights of men and women, cm, and the share of arms-up scans: not in the table.
#: The first is of the order of any population's; the second is our assumption.
_SEX_HEIGHT = 12.0
_ARMS_UP = 0.6


def draw_subject(rng: np.random.Generator, scanner: str = "quadra") -> Subject:
    """Draw a subject from the figures of a scanner's cohort.

    Args:
        rng: where the randomness comes from; advanced by a fixed pattern of draws.
        scanner: "quadra" or "uexplorer"; anything else takes the two pooled.
    """
    c = COHORTS.get(scanner, POOLED)
    male = bool(rng.random() < 0.5)
    while True:
        a, b, e, t = (float(v) for v in rng.standard_normal(4))
        b = c.weight_height * a + (1 - c.weight_height**2) ** 0.5 * b
        e = c.weight_activity * b + (1 - c.weight_activity**2) ** 0.5 * e
        height = c.height[0] + c.height[1] * a
        weight = _lognormal(c.weight, b)
        activity = c.activity[0] + c.activity[1] * e
        uptake = _lognormal(c.uptake, t)
        values = ((height, c.height), (weight, c.weight), (activity, c.activity), (uptake, c.uptake))
        likely_male = 1 / (1 + np.exp(-(height - c.height[0]) * _SEX_HEIGHT / (c.height[1] ** 2)))
        bmi = weight / (height / 100) ** 2
        fits = all(low <= v <= high for v, (_, _, low, high) in values) and 15.5 <= bmi <= 45
        if fits and rng.random() < (likely_male if male else 1 - likely_male):
            break
    return Subject(
        "M" if male else "F",
        round(height, 1),
        round(weight, 1),
        bool(rng.random() < _ARMS_UP),
        round(activity, 1) * 1e6,
        round(uptake * 60.0),
    )


def _lognormal(figures: tuple[float, float, float, float], normal: float) -> float:
    mean, sd = figures[:2]
    s2 = np.log(1 + (sd / mean) ** 2)
    return float(np.exp(np.log(mean) - s2 / 2 + s2**0.5 * normal))
