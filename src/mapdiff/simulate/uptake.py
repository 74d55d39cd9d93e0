"""How much FDG each tissue takes up, and what it attenuates.

SUVmean and its spread over subjects, about an hour after injection. The figures are rounded working values of
the order reported for normal tissue in
  Wang Y 2007, Standardized uptake value atlas, Mol Imaging Biol 9:83-90;
  Zincirkeser S 2007, Standardized uptake values of normal organs on FDG PET/CT, J Int Med Res 35:231-236;
  Ramos CD 2001, FDG-PET standardized uptake values in normal anatomical structures,
  Eur J Nucl Med 28:155-164;
they are not copies of those tables. Urine, bowel and myocardium vary by an order of magnitude in all of them
and are drawn wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapdiff.simulate.subject import Subject

#: Labels of the organ mask; 0 is outside the body.
ORGANS: dict[str, int] = {
    name: n
    for n, name in enumerate(
        [
            "fat", "muscle", "bone", "marrow", "lungs", "airway", "mediastinum", "heart", "blood",
            "liver", "gallbladder", "spleen", "stomach", "pancreas", "adrenals", "kidneys",
            "urine", "bowel", "bladder", "visceral_fat", "brain", "brain_white", "csf",
            "spinal_cord", "eyes", "glands", "tonsils", "thyroid", "breast", "uterus", "testes",
            "prostate", "brown_fat", "mucosa", "skin",
        ],
        start=1,
    )
}  # fmt: skip

#: Linear attenuation at 511 keV, 1/mm, of tissues other than water (`body.MU_WATER`), by their electron
#: density (ICRU Report 44).
MU = {"fat": 0.0090, "visceral_fat": 0.0091, "lungs": 0.0028, "airway": 0.0, "bone": 0.0140, "marrow": 0.0116}
MU_BRAIN = 0.0099
MU_SOFT = 0.0098

#: Mean SUV and relative SD over subjects; see the module's text for the sources.
TABLE: dict[str, tuple[float, float]] = {
    "fat": (0.25, 0.20),
    "visceral_fat": (0.42, 0.20),
    "skin": (0.70, 0.20),
    "muscle": (0.68, 0.16),
    "bone": (0.55, 0.20),
    "marrow": (1.65, 0.22),
    "lungs": (0.45, 0.20),
    "mediastinum": (0.95, 0.12),
    "blood": (1.65, 0.15),
    "liver": (2.40, 0.18),
    "spleen": (1.95, 0.16),
    "stomach": (1.90, 0.28),
    "pancreas": (1.50, 0.18),
    "adrenals": (1.70, 0.20),
    "kidneys": (3.00, 0.20),
    "bowel": (1.60, 0.30),
    "brain": (9.50, 0.22),
    "spinal_cord": (1.55, 0.18),
    "eyes": (2.60, 0.30),
    "glands": (1.90, 0.30),
    "tonsils": (3.20, 0.32),
    "thyroid": (1.35, 0.25),
    "breast": (0.70, 0.25),
    "uterus": (1.80, 0.35),
    "testes": (2.40, 0.22),
    "prostate": (1.40, 0.20),
    "mucosa": (1.80, 0.30),
}


@dataclass(frozen=True)
class Uptake:
    """One subject's uptake.

    Attributes:
        suv: SUV of each tissue of TABLE.
        urine: SUV in the renal pelvis.
        bladder: SUV in the bladder.
        bladder_ml: urine in the bladder, mL.
        myocardium: SUV of the left ventricle's wall.
        myocardium_patchy: how unevenly that wall is lit, 0 to 1.
        bowel_hot: SUV of the hottest stretches of bowel.
        brown_fat: SUV of brown fat in neck and shoulders, 0 in most people.
        muscle_spread: SD of muscle uptake between muscles, relative.
    """

    suv: dict[str, float]
    urine: float
    bladder: float
    bladder_ml: float
    myocardium: float
    myocardium_patchy: float
    bowel_hot: float
    brown_fat: float
    muscle_spread: float


def draw_uptake(rng: np.random.Generator, subject: Subject) -> Uptake:
    """Draw one subject's uptake.

    Heavy people have a higher SUVbw in everything lean, because fat takes up little; blood clears and liver
    falls while tissues rise with the time after injection.
    """
    suv = {k: m * float(np.exp(s * rng.standard_normal() - s * s / 2)) for k, (m, s) in TABLE.items()}
    lean = (subject.weight_kg / (subject.height_cm / 100) ** 2 / 23.5) ** 0.35
    late = subject.uptake_s / 3900.0
    for name in suv:
        if name not in ("fat", "visceral_fat"):
            suv[name] *= lean
    suv["blood"] *= late**-0.35
    suv["liver"] *= late**-0.12
    suv["brain"] *= late**0.15 * lean**-0.5
    suv["liver"] = max(suv["liver"], 1.05 * suv["blood"])
    suv["spleen"] = 0.5 * suv["spleen"] + 0.4 * suv["liver"]
    if rng.random() < 0.10:  # reactive marrow and spleen
        suv["marrow"] *= rng.uniform(1.5, 2.2)
        suv["spleen"] *= rng.uniform(1.1, 1.5)
    hot_heart = rng.random() < 0.5
    volume = float(np.clip(np.exp(rng.normal(np.log(110), 0.75)), 20, 450))
    return Uptake(
        suv=suv,
        urine=float(np.clip(np.exp(rng.normal(np.log(9), 0.6)), 2.5, 40)),
        # The same excreted activity in less urine is hotter.
        bladder=float(np.clip(np.exp(rng.normal(np.log(14), 0.7)) * (110 / volume) ** 0.5, 2.0, 70)),
        bladder_ml=volume,
        myocardium=float(rng.uniform(4, 13) if hot_heart else suv["blood"] * rng.uniform(1.0, 1.7)),
        myocardium_patchy=float(rng.uniform(0.05, 0.7)),
        bowel_hot=float(suv["bowel"] * np.clip(np.exp(rng.normal(0.55, 0.5)), 1.0, 6.0)),
        brown_fat=float(rng.uniform(2.5, 9)) if rng.random() < 0.05 else 0.0,
        muscle_spread=float(rng.uniform(0.06, 0.16)),
    )
