"""SLURM's word on how many processes work together, where it can be believed."""

import os

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from mapdiff.errors import InputError


def slurm_environment(otherwise: str) -> SLURMEnvironment | None:
    """SLURM's environment; None where this is no job of SLURM's.

    Args:
        otherwise: what else the user could do, the end of a sentence.

    Raises:
        InputError: the job has several tasks, but srun did not start this process; or its settings cannot be
            followed.
    """
    if not SLURMEnvironment.detect():
        return None
    try:
        environment = SLURMEnvironment()
    except RuntimeError as error:  # what Fabric does not support of SLURM's settings
        raise InputError(str(error)) from error
    # srun sets this, sbatch does not (https://slurm.schedmd.com/srun.html): a batch script that runs the
    # program plainly has its tasks' count too, but is one process: it would do one part of a folder and end
    # well, or wait for the other processes of a training for ever.
    if environment.world_size() > 1 and "SLURM_STEP_NUM_TASKS" not in os.environ:
        raise InputError(
            f"SLURM gives this job {environment.world_size()} tasks, but srun did not start this: "
            f"write `srun mapdiff ...`, or {otherwise}"
        )
    return environment
