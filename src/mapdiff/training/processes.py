"""One training in several processes: how they are started, and which patches each of them has."""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from mapdiff.errors import InputError
from mapdiff.launch import slurm_environment
from mapdiff.precision import best_precision
from mapdiff.training.config import Resources

#: How long processes wait for the first one to pack cohort folders.
PACKING_TIMEOUT = timedelta(hours=12)
T = TypeVar("T")


def launched(resources: Resources) -> Fabric:
    """Lightning Fabric with its processes running: those of torchrun or SLURM, or started here.

    Raises:
        InputError: the machine has no such devices, or SLURM was asked for several tasks and srun for none.
    """
    if not TorchElasticEnvironment.detect():
        slurm_environment("ask for one task")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # not its word on precision each time
    accelerator = resources.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    precision = best_precision(accelerator) if resources.precision == "auto" else resources.precision
    # torchrun has started the processes; it says how many.
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", resources.devices))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", resources.nodes))
    strategy = DDPStrategy(timeout=PACKING_TIMEOUT) if devices * nodes > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"cannot run on {devices} x {accelerator}: {error}") from None
    fabric.launch()
    return fabric


def part_at_exit() -> None:
    """After the last word between processes: have gloo's threads stopped while the interpreter still runs.

    Lightning does so for NCCL alone; a thread of gloo that frees its last tensors while Python ends aborts
    the process (https://github.com/pytorch/pytorch/pull/179291), when all is saved. Not where a process
    fails: its group would wait for what the others will never send.
    """
    atexit.register(_part)


def _part() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def first_alone(fabric: Fabric, work: Callable[[], T]) -> T:
    """Let the first process do something that the others wait for; all get its result.

    Where it fails the others end too, without a word: the first one tells why.

    Raises:
        InputError: from the work.
    """
    if fabric.is_global_zero:
        try:
            result = work()
        except InputError:
            fabric.broadcast((None, True))
            raise
        fabric.broadcast((result, False))
        return result
    told, failed = fabric.broadcast((None, False))
    if failed:
        sys.exit(InputError.exit_code)
    return cast(T, told)


def same_for_all(fabric: Fabric, number: int) -> bool:
    """Whether all processes come with the same number; all get the same answer."""
    numbers = torch.as_tensor(fabric.all_gather(torch.tensor(number)))
    return bool((numbers == number).all())


def share_of(batch: int, fabric: Fabric, accumulate: int) -> slice:
    """The patches of a step that are this process's.

    Raises:
        InputError: they cannot be shared out evenly.
    """
    if batch % (fabric.world_size * accumulate):
        raise InputError(
            f"batch = {batch}: not a multiple of {fabric.world_size} processes x {accumulate} pieces"
        )
    size = batch // fabric.world_size
    return slice(fabric.global_rank * size, (fabric.global_rank + 1) * size)
