"""Dose fractions: what is read, what is refused, what the file names say."""

from fractions import Fraction

import pytest

from mapdiff.dose import ANCHORS, DOSES, FULL, dose_label, dose_of_rec, parse_dose, rec_label
from mapdiff.errors import InputError


@pytest.mark.parametrize(
    ("text", "dose"),
    [
        ("1/20", Fraction(1, 20)),
        (" 0.05 ", Fraction(1, 20)),
        ("full", FULL),
        ("FULL", FULL),
        ("1", FULL),
        ("drf20", Fraction(1, 20)),
        ("DRF_100", Fraction(1, 100)),
        ("DRF-4", Fraction(1, 4)),
        ("drf2.5", Fraction(2, 5)),
        ("0.333333333333", Fraction(1, 3)),
    ],
)
def test_all_spellings_name_one_dose(text, dose):
    assert parse_dose(text) == dose


@pytest.mark.parametrize(
    "text",
    ["", "low", "0", "-1/20", "2", "1.0001", "1/0", "drf", "drf0", "drf0.5", "nan", "inf", "1/20/3", "20 %"],
)
def test_refusals_quote_what_was_given(text):
    with pytest.raises(InputError) as caught:
        parse_dose(text)
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1/1000000", "1e-9", "drf50000"])
def test_a_dose_is_never_rounded_to_nothing(text):
    """0 would be divided by later."""
    with pytest.raises(InputError, match=f"{text} is below"):
        parse_dose(text)


@pytest.mark.parametrize("dose", [*DOSES, Fraction(2, 5), Fraction(1, 3), Fraction(2, 3), Fraction(1, 200)])
def test_labels_are_read_back(dose):
    assert parse_dose(dose_label(dose)) == dose
    label = rec_label(dose)
    assert dose_of_rec(label) == dose
    assert label.isalnum()  # a BIDS label is letters and digits


@pytest.mark.parametrize("dose", [Fraction(3, 7), Fraction(123, 1000), Fraction(7, 90)])
def test_labels_of_odd_doses_are_read_back_nearly(dose):
    """The label holds six digits of the dose reduction factor."""
    assert float(dose_of_rec(rec_label(dose))) == pytest.approx(float(dose), rel=1e-5)


def test_a_drf_of_100_is_the_lowest_dose():
    assert dose_of_rec("drf100") == min(DOSES) and dose_of_rec("full") == max(DOSES)


def test_doses_fall_and_anchors_rise():
    assert list(DOSES) == sorted(DOSES, reverse=True) and list(ANCHORS) == sorted(ANCHORS)
    assert set(ANCHORS) < set(DOSES)
