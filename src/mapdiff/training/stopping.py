"""When a session stops before its run is finished, and where its time went."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric

#: Kept back from --max-hours for the start and the end of the processes, seconds.
RESERVE = 10.0
REASONS = (None, "--max-hours", "SIGTERM")


class Stopper:
    """Watches the clock and SIGTERM, which clusters send before they take a machine away."""

    def __init__(self, max_hours: float | None) -> None:
        """Start the session's clock; the training's own starts with `training`."""
        self._deadline = None if max_hours is None else time.monotonic() + 3600 * max_hours - RESERVE
        self._terminated = False
        self._began = self._last_step = self._last_share = time.monotonic()
        self._waited = self._longest_step = self._longest_save = 0.0

    @contextmanager
    def training(self) -> Iterator[None]:
        """The time of the loop: SIGTERM asks it to stop, and `seconds` counts."""
        self._began = self._last_step = self._last_share = time.monotonic()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def seconds(self) -> float:
        """Since the training began, in this session."""
        return time.monotonic() - self._began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time without work for the network: the next batch is not there yet."""
        started = time.monotonic()
        yield
        self._waited += time.monotonic() - started

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time of a checkpoint."""
        started = time.monotonic()
        yield
        self._longest_save = max(self._longest_save, time.monotonic() - started)
        self._last_step = time.monotonic()

    def stepped(self) -> None:
        """A step is done."""
        now = time.monotonic()
        self._longest_step = max(self._longest_step, now - self._last_step)
        self._last_step = now

    def waited_share(self) -> float:
        """Part of the time since the last call that was spent waiting for batches."""
        now = time.monotonic()
        share = self._waited / max(now - self._last_share, 1e-9)
        self._waited, self._last_share = 0.0, now
        return share

    def decides(self, fabric: Fabric) -> str | None:
        """Why to stop now, or None; the same in all processes.

        A next step and two checkpoints (the slowest seen) must still fit into the hours.
        """
        reason = 0
        if self._terminated:
            reason = 2
        elif self._deadline is not None:
            needed = self._longest_step + 2 * self._longest_save
            reason = int(time.monotonic() + needed >= self._deadline)
        if fabric.world_size > 1:
            agreed: Any = fabric.all_reduce(torch.tensor(reason, device=fabric.device), reduce_op="max")
            reason = int(agreed)
        return REASONS[reason]
