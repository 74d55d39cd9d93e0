"""Which part of a folder is this process's, where several work on it together.

The launcher tells, through the variables that Lightning Fabric reads: torchrun, or SLURM's srun; besides, the
tasks of a SLURM array share the work. Each scan belongs to one of them; they do not talk to each other, but
to end together.
"""

import contextlib
import os
import time
from dataclasses import dataclass

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed.rendezvous import rendezvous

from mapdiff.errors import InputError
from mapdiff.launch import slurm_environment


@dataclass(frozen=True)
class Share:
    """The scans rank, rank + world, rank + 2 world, ... of a list.

    Attributes:
        rank: of this process, from 0.
        world: how many processes there are.
        local_rank: of this process on its machine; picks the GPU.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def mine(self, number: int) -> bool:
        """Whether the scan of that number, from 0, is this process's."""
        return number % self.world == self.rank

    def device(self, asked: str) -> str:
        """The device that "auto" and "cuda" mean for this process: GPUs are shared out by local rank."""
        if asked not in ("auto", "cuda") or not torch.cuda.is_available():
            return asked
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"


ALL = Share()


def share_of_work() -> Share:
    """This process's share; all of it where no launcher is at work.

    Raises:
        InputError: SLURM was asked for tasks in a way that cannot be followed; the text tells another.
    """
    environment: ClusterEnvironment | None = None
    if TorchElasticEnvironment.detect():
        environment = TorchElasticEnvironment()
    else:
        environment = slurm_environment("give --no-share")
    rank, world, local = 0, 1, 0
    if environment is not None:
        rank, world, local = environment.global_rank(), environment.world_size(), environment.local_rank()
    # https://slurm.schedmd.com/job_array.html: task numbers run from MIN in steps of STEP.
    names = ("ID", "MIN", "STEP", "COUNT")
    array = [os.environ.get(f"SLURM_ARRAY_TASK_{name}", "") for name in names]
    if all(value.isdigit() for value in array):
        number, first, step, count = map(int, array)
        task = (number - first) // max(step, 1)
        if task >= count or (number - first) % max(step, 1):
            raise InputError("the SLURM array's tasks are not evenly spaced: give --array=0-N, or --no-share")
        rank, world = task * world + rank, world * count
    return Share(rank, world, local)


def end_together() -> None:
    """Wait until all of torchrun's processes have come here: it ends the others as soon as one has failed.

    One whose scans are bad would else end them in the middle of a scan, each time anew. Whoever cannot be
    reached any more has ended.
    """
    if not TorchElasticEnvironment.detect():
        return
    with contextlib.suppress(RuntimeError):
        store, _, world = next(iter(rendezvous("env://")))
        if store.add("came", 1) == world:
            store.set("all came", "")
        while not store.check(["all came"]):  # not store.wait, during which no signal is answered
            time.sleep(0.5)
