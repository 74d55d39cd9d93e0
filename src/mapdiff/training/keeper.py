"""What a run leaves: model, best model, log, picture and state, written by the first process."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from mapdiff import __version__
from mapdiff.atomic import written_aside
from mapdiff.methods.base import Method
from mapdiff.methods.model_file import TrainedModel, parameters, save_model
from mapdiff.training.checkpoint import TrainingState, save_state
from mapdiff.training.config import TrainingConfig
from mapdiff.training.data import TrainingData
from mapdiff.training.folder import BEST_FILE, CALIBRATION_FILE, MODEL_FILE, STATE_FILE
from mapdiff.training.log import RunLog
from mapdiff.training.picture import PICTURE_FILE, draw_progress
from mapdiff.training.validation import Validator


class Keeper:
    """Writes what a run leaves; only the first process has one."""

    def __init__(
        self,
        run: Path,
        config: TrainingConfig,
        facts: dict[str, Any],
        method: Method,
        data: TrainingData,
        state: TrainingState,
        fabric: Fabric,
        say: Callable[[str], None],
    ) -> None:
        """Open the log and read the validation's boxes."""
        self._run, self._config, self._facts, self._method = run, config, facts, method
        self._data, self._state, self._fabric, self._say = data, state, fabric, say
        self._validator = Validator(data.validation, data.validation_levels)
        with written_aside(run / CALIBRATION_FILE) as aside:
            aside.write_text(data.calibration.to_json())
        self.log = RunLog(run, state.step)
        if state.step == 0:
            # Killed between its first model and the state of that step, the run is known as its own.
            save_state(state, run / STATE_FILE, facts)

    def checkpoint(self, rate: float, seconds_left: float, waited: float, with_validation: bool) -> None:
        """Write model, best model, log and picture, and last the state: what comes before it can be redone.

        Without validation (a stop between two checkpoints) the model and the state alone are written, and the
        sums of the losses go with the state, so that the log has the rows of a run that was not stopped.
        """
        state, run = self._state, self._run
        averaged = self._averaged()
        model = TrainedModel(
            self._config.method,
            averaged,
            self._data.calibration,
            self._method.level_range(self._data.train_noise()),
            self._model_facts(),
        )
        save_model(model, run / MODEL_FILE)
        if with_validation:
            with self._fabric.autocast():
                found = self._validator.run(
                    self._method, averaged, self._data.calibration, self._fabric.device
                )
            if found.psnr > state.best:
                state.best = found.psnr
                save_model(model, run / BEST_FILE)
            means = {name: value / state.summed for name, value in state.sums.items()}
            row = {"step": state.step, **means, "lr": rate, "psnr": found.psnr}
            self.log.append(row | {"seconds": round(state.seconds), "waiting": round(waited, 4)})
            title = f"{run.resolve().name}: step {state.step} of {self._config.steps}"
            draw_progress(self.log.columns("seconds", "waiting"), found.slices, title, run / PICTURE_FILE)
            state.sums, state.summed = {}, 0
            self._say(
                f"step {state.step} of {self._config.steps}: loss {means['loss']:.5f}, validation "
                f"{found.psnr:.2f} dB, {_duration(seconds_left)} left, {100 * waited:.1f} % waiting for data"
            )
        save_state(state, run / STATE_FILE, self._facts)

    def _averaged(self) -> Any:
        net = copy.deepcopy(self._state.net)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(self._state.ema[name])
        return net.eval()

    def _model_facts(self) -> dict[str, Any]:
        data, state = self._data, self._state
        return {
            **asdict(self._config),
            "step": state.step,
            "hours": round(state.seconds / 3600, 3),
            "cohorts": data.cohorts,
            "init": self._facts["init"],
            "subjects": len(data.train),
            "held_out": len(data.validation),
            "parameters": parameters(state.net),
            "target": ", ".join(
                sorted({"noise-free" if s.facts.has_truth else "complement" for s in data.train})
            ),
            "processes": self._fabric.world_size,
            "torch": torch.__version__,
            "mapdiff": __version__,
        }


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
