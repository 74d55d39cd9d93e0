"""A session ends within its hours, a checkpoint included, and by SIGTERM."""

import os
import signal

import pytest
from lightning_fabric import Fabric

from mapdiff.training import stopping
from mapdiff.training.stopping import RESERVE, Stopper

FABRIC = Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    clock = Clock()
    monkeypatch.setattr(stopping.time, "monotonic", lambda: clock.now)
    return clock


@pytest.mark.parametrize(("step", "save"), [(1.0, 4.0), (30.0, 1.0), (0.1, 90.0)])
def test_it_stops_as_late_as_it_can_and_in_time(clock, step, save):
    """Whatever steps and checkpoints take: the last checkpoint ends before the hour does."""
    hours = 0.5
    started, stopper = clock.now, Stopper(hours)
    clock.now += 25  # packing, opening
    with stopper.training():
        for n in range(1, 100_000):
            clock.now += step
            stopper.stepped()
            stopping_now = stopper.decides(FABRIC)
            if n % 10 == 0 or stopping_now:
                with stopper.saving():
                    clock.now += save
            if stopping_now:
                break
    assert stopping_now == "--max-hours"
    spent = clock.now - started
    assert 3600 * hours - RESERVE - 3 * (step + 2 * save) <= spent <= 3600 * hours - RESERVE


def test_without_hours_it_goes_on(clock):
    stopper = Stopper(None)
    with stopper.training():
        clock.now += 1e9
        stopper.stepped()
        assert stopper.decides(FABRIC) is None


def test_sigterm_stops_it_and_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    stopper = Stopper(None)
    with stopper.training():
        assert stopper.decides(FABRIC) is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopper.decides(FABRIC) == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_share_of_waiting_is_since_it_was_last_asked(clock):
    stopper = Stopper(None)
    with stopper.training():
        with stopper.waiting():
            clock.now += 1
        clock.now += 3
        assert stopper.waited_share() == pytest.approx(0.25)
        clock.now += 4
        assert stopper.waited_share() == 0
        assert stopper.seconds() == pytest.approx(8)
