"""The training loop, read from top to bottom; run again on the same folder, it goes on."""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mapdiff.atomic import locked
from mapdiff.cohort.patches import Batch, PatchSampler, batches
from mapdiff.diffusion.calibration import Calibration
from mapdiff.errors import InputError
from mapdiff.heap import give_back, kept_heap
from mapdiff.methods.base import Draws, Method, part_of
from mapdiff.methods.model_file import TrainedModel, parameters
from mapdiff.methods.registry import method_named
from mapdiff.training.checkpoint import begun, load_state, start_state
from mapdiff.training.config import Resources, TrainingConfig
from mapdiff.training.data import TrainingData, check_sizes, default_workers, open_stores, prepare_stores
from mapdiff.training.folder import (
    CALIBRATION_FILE,
    LOCK_FILE,
    MODEL_FILE,
    STATE_FILE,
    check_new,
    check_room,
    check_same,
    clear,
)
from mapdiff.training.keeper import Keeper
from mapdiff.training.optimizer import optimizer_for
from mapdiff.training.processes import first_alone, launched, part_at_exit, same_for_all, share_of
from mapdiff.training.stopping import Stopper


def train(
    cohorts: Sequence[Path],
    run: Path,
    config: TrainingConfig,
    resources: Resources | None = None,
    *,
    calibration: Calibration | None = None,
    init: TrainedModel | None = None,
    restart: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Train, or go on with a run that was stopped; everything random follows from the seed and the step.

    A script that calls it does so below `if __name__ == "__main__":`, since the processes that pack cohort
    folders import the script again.

    Args:
        cohorts: cohort folders or stores.
        run: the run's folder: model, best model, state, log, picture.
        config: the settings.
        resources: where and how it runs; None is `Resources()`.
        calibration: the path's; None calibrates on the cohorts.
        init: a model of the same method to start from; its network's shape takes the place of the
            configuration's.
        restart: begin anew where the folder holds a run.
        say: takes a line of progress; called by the first process only.

    Returns:
        The model's file.

    Raises:
        InputError: a cohort is broken, the run was started with another configuration, the start is of
            another method, the folder cannot be written, or the memory does not suffice.
    """
    resources = resources or Resources()
    if init is not None:
        if init.method != config.method:
            raise InputError(f"--init: is a model of {init.method}, not of {config.method}")
        config = replace(config, channels=init.net.config.channels, blocks=init.net.config.blocks)
    facts = json.loads(json.dumps(asdict(config)))
    facts["init"] = None if init is None else _hash_of_weights(init.net)
    stopper = Stopper(resources.max_hours)
    fabric = launched(resources)
    share = share_of(config.batch, fabric, resources.accumulate)
    tell = say if fabric.is_global_zero else lambda line: None

    header = None if restart else begun(run / STATE_FILE)
    if not same_for_all(fabric, 0 if header is None else header["step"]):
        raise InputError("is not one folder for all machines: give one on a disk that they share", run)
    if header is not None:
        check_same(header["facts"], facts, run)
    else:
        check_new(run, restart)

    check_sizes(cohorts, config.validation)
    with ExitStack() as claim:

        def prepare() -> list[Path]:
            claim.enter_context(locked(run / LOCK_FILE, "trains"))
            return prepare_stores(cohorts, run, resources.jobs, tell)

        stores = first_alone(fabric, prepare)
        # A run goes on by its own calibration: another processor's would differ in the last digits.
        known = run / CALIBRATION_FILE
        if calibration is None and header is not None and known.exists():
            calibration = Calibration.read(known)
        data = open_stores(cohorts, stores, config.validation, calibration)
        facts["cohorts"] = data.cohorts
        facts["calibration"] = hashlib.sha256(data.calibration.to_json().encode()).hexdigest()[:12]
        if header is not None:
            check_same(header["facts"], facts, run)
        if header is not None and header["step"] >= config.steps:
            tell(f"the run is finished: {config.steps} steps")
        else:
            with stopper.training(), kept_heap():
                going_on = header is not None
                _run(
                    fabric, run, config, resources, data, init, facts, restart, going_on, share, stopper, tell
                )
    part_at_exit()
    return run / MODEL_FILE


def _run(
    fabric: Fabric,
    run: Path,
    config: TrainingConfig,
    resources: Resources,
    data: TrainingData,
    init: TrainedModel | None,
    facts: dict[str, Any],
    restart: bool,
    going_on: bool,
    share: slice,
    stopper: Stopper,
    say: Callable[[str], None],
) -> None:
    sampler = PatchSampler(data.train, data.train_levels, config.patch, config.batch, config.seed)
    method = method_named(config.method)
    torch.manual_seed(config.seed)
    net: Any = method.build(config.channels, config.blocks) if init is None else copy.deepcopy(init.net)
    net = net.to(memory_format=torch.channels_last_3d).train().requires_grad_(True)
    turns = method.turns(net)
    optimizers: dict[str, torch.optim.Optimizer] = {
        turn: optimizer_for(config.optimizer, trained, config.learning_rate)
        for turn, trained in turns.items()
    }
    wrapped, *wrapped_optimizers = fabric.setup(net, *optimizers.values())
    state = start_state(net, optimizers)
    keeper = None
    first_alone(fabric, lambda: check_room(run, parameters(net), restart))
    if fabric.is_global_zero and restart:
        clear(run)
    if going_on:
        load_state(state, run / STATE_FILE)
        say(f"going on at step {state.step} of {config.steps}")
    if fabric.is_global_zero:
        keeper = Keeper(run, config, facts, method, data, state, fabric, say)

    workers = default_workers(resources.devices) if resources.workers is None else resources.workers
    coming = batches(sampler, range(state.step, config.steps), share, workers)
    sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in state.sums.items()}
    seconds_before, resumed_at = state.seconds, state.step

    with closing(coming):  # not when its last reference goes: matplotlib's tracebacks keep this frame
        while state.step < config.steps:
            with stopper.waiting():
                batch = next(coming).to(fabric.device)
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
            draws = part_of(method.draw(config.batch, config.patch, generator), share)
            rate = config.rate(state.step)
            for turn, optimizer in zip(turns, wrapped_optimizers, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with _advice_on_memory(config, resources, fabric.world_size):
                    losses = _backward(
                        fabric, wrapped, method, batch, data.calibration, draws, turn, resources.accumulate
                    )
                torch.nn.utils.clip_grad_norm_(turns[turn], config.clip)
                optimizer.step()
                optimizer.zero_grad()
                for name, value in losses.items():
                    sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + value.double().cpu()
            state.step += 1
            state.summed += 1
            state.update_ema(config.ema)
            state.seconds = seconds_before + stopper.seconds()
            stopper.stepped()

            stopping = stopper.decides(fabric)
            regular = state.step % resources.checkpoint_every == 0 or state.step == config.steps
            if regular or stopping:
                state.sums = {name: _mean_over_processes(fabric, value) for name, value in sums.items()}
                _check_finite(state.sums, state.step - state.summed, config)
                if keeper is not None:
                    with stopper.saving():
                        left = (config.steps - state.step) * stopper.seconds() / (state.step - resumed_at)
                        keeper.checkpoint(rate, left, stopper.waited_share(), with_validation=regular)
                if regular:
                    state.sums, state.summed, sums = {}, 0, {}
                give_back()
            if stopping and state.step < config.steps:
                say(f"stopped by {stopping} at step {state.step}; run again to go on")
                break
    if keeper is not None:
        keeper.log.close()


def _check_finite(sums: Mapping[str, float], since: int, config: TrainingConfig) -> None:
    """Before anything is saved: once a loss is not finite, neither are the weights.

    Raises:
        InputError: one is not.
    """
    bad = [name for name, value in sums.items() if not math.isfinite(value)]
    if bad:
        raise InputError(
            f"the training broke out after step {since} ({bad[0]} is not a number); what was saved before is "
            f"kept. Start another run with a lower --learning-rate than {config.learning_rate:g}"
        )


def _backward(
    fabric: Fabric,
    wrapped: Any,
    method: Method,
    batch: Batch,
    calibration: Calibration,
    draws: Draws,
    turn: str,
    pieces: int,
) -> dict[str, Tensor]:
    """Gradients of a process's part of the batch, piece by piece; the losses' means over it."""
    size = len(batch) // pieces
    means: dict[str, Tensor] = {}
    for n in range(pieces):
        piece = slice(n * size, (n + 1) * size)
        with fabric.no_backward_sync(wrapped, enabled=n < pieces - 1):
            losses = method.loss(wrapped, batch.part(piece), calibration, part_of(draws, piece), turn)
            fabric.backward(losses["loss"] / pieces)
        for name, value in losses.items():
            means[name] = means.get(name, torch.zeros_like(value)) + value.detach() / pieces
    return means


def _mean_over_processes(fabric: Fabric, value: Tensor) -> float:
    mean: Any = fabric.all_reduce(value.to(fabric.device), reduce_op="mean")
    return float(mean)


@contextmanager
def _advice_on_memory(config: TrainingConfig, resources: Resources, processes: int) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            told = str(error).lower()
            if "can't allocate memory" not in told and "not enough memory" not in told:
                raise
        # The next number of pieces that shares the patches out evenly; none where each is a piece already.
        own, now = config.batch // processes, resources.accumulate
        more = next((n for n in range(now + 1, own + 1) if own % n == 0), None)
        advice = "a smaller --patch, or fewer --channels"
        if more is not None:
            advice = f"--accumulate {more} takes less and trains the same; or a smaller --batch"
        raise InputError(
            f"out of memory with {config.batch} patches of {config.patch}^3 in {now} piece(s): {advice}"
        ) from None


def _hash_of_weights(net: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, values in net.state_dict().items():
        digest.update(name.encode() + values.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
