"""A trial of other parameters by the simulator's benchmarks (benchmarks/trial.py)."""

import argparse

import pytest
from trial import add_trial, changed, scanners

from mapdiff.simulate.scanner import PRESETS, QUADRA


def parsed(*words: str) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser()
    add_trial(parser)
    return parser, parser.parse_args(words)


def test_what_is_set_changes_in_its_type_and_nothing_else_does():
    found = changed(QUADRA, ["subsets=120", "filter_mm=4"])
    assert (found.subsets, found.filter_mm) == (120, 4.0)
    assert isinstance(found.subsets, int) and isinstance(found.filter_mm, float)
    assert changed(found, [f"subsets={QUADRA.subsets}", f"filter_mm={QUADRA.filter_mm}"]) == QUADRA


@pytest.mark.parametrize(
    "setting", ["gain=2", "name=x", "filter_mm=wide", "subsets=2.5", "filter_mm=-1", "psf_mm=nan"]
)
def test_a_parameter_that_is_not_there_or_a_wrong_value_is_refused(setting):
    with pytest.raises(ValueError, match=setting.partition("=")[0]):
        changed(QUADRA, [setting])


def test_without_a_scanner_all_presets_are_measured_and_nothing_can_be_set(capsys):
    assert scanners(*parsed()) == PRESETS
    with pytest.raises(SystemExit) as stopped:
        scanners(*parsed("--set", "psf_mm=0"))
    assert stopped.value.code == 2
    assert "--scanner" in capsys.readouterr().err


def test_a_named_scanner_alone_is_measured_as_it_was_set():
    found = scanners(*parsed("--scanner", "uexplorer", "--set", "psf_mm=0", "--set", "iterations=3"))
    assert list(found) == ["uexplorer"]
    assert (found["uexplorer"].psf_mm, found["uexplorer"].iterations) == (0.0, 3)
