"""Dose fractions: how they are written, read and named.

A dose fraction d is a part of the full dose, 0 < d <= 1; the dose reduction factor (DRF) is 1 / d.
"""

from fractions import Fraction

from mapdiff.errors import InputError

FULL = Fraction(1)
#: Doses are fractions with a denominator up to this one's, so that 0.3333333 is 1/3.
LOWEST = Fraction(1, 10_000)
#: The doses of a multi-dose cohort, from the highest to the lowest.
DOSES = tuple(Fraction(1, drf) for drf in (1, 2, 4, 10, 20, 50, 100))
#: The intermediate doses that hold the reverse path (the paper's anchors), in the order they are passed.
ANCHORS = (Fraction(1, 10), Fraction(1, 4), Fraction(1, 2))


def parse_dose(text: str) -> Fraction:
    """Read a dose fraction: "1/20", "0.05", "full" or "drf20" all name one.

    Raises:
        InputError: the text is no dose fraction from 1/10000 to 1.
    """
    word = text.strip().lower()
    try:
        if word == "full":
            return FULL
        if word.startswith("drf"):
            dose = 1 / Fraction(word[3:].lstrip("-_"))
        else:
            dose = Fraction(word)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"'{text}' is not a dose fraction such as 1/20") from None
    if not 0 < dose <= 1:
        raise InputError(f"dose {text} is outside (0, 1]: give the fraction of the full dose, such as 1/20")
    if dose < LOWEST:
        raise InputError(f"dose {text} is below {LOWEST}, the lowest that has a name")
    return dose.limit_denominator(LOWEST.denominator)


def dose_label(dose: Fraction) -> str:
    """How a dose is printed: "full", "1/20"."""
    return "full" if dose == 1 else f"{dose.numerator}/{dose.denominator}"


def rec_label(dose: Fraction) -> str:
    """The BIDS `rec-` label of a dose: "full", "drf20" (the dose reduction factor), "drf2p5" for 2/5."""
    if dose == 1:
        return "full"
    return "drf" + f"{float(1 / dose):g}".replace(".", "p")


def dose_of_rec(label: str) -> Fraction:
    """The dose that a `rec-` label names; the inverse of `rec_label`."""
    return parse_dose(label.replace("p", "."))
