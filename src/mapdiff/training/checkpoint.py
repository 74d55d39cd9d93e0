"""The state of a training run in one safetensors file: no pickle, written whole or not at all."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mapdiff.atomic import written_aside
from mapdiff.errors import InputError


@dataclass
class TrainingState:
    """What changes while a run goes on.

    Attributes:
        net: the network being trained (its raw weights).
        ema: the exponential moving average of the weights, by parameter name.
        optimizers: `Muon` or AdamW, by the name of their turn; together they have all the net's parameters.
        step: optimiser steps done.
        best: best validation PSNR so far, dB.
        seconds: of training so far, over all sessions.
        sums: sum of each loss over the steps since the last row of the log.
        summed: how many steps these are.
    """

    net: nn.Module
    ema: dict[str, Tensor]
    optimizers: dict[str, torch.optim.Optimizer]
    step: int = 0
    best: float = float("-inf")
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0

    def update_ema(self, decay: float) -> None:
        """Move the average towards the weights; the decay is weaker in the first steps."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                self.ema[name].lerp_(parameter.detach(), 1 - decay)


def start_state(net: nn.Module, optimizers: dict[str, torch.optim.Optimizer]) -> TrainingState:
    """The state before the first step."""
    ema = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    return TrainingState(net, ema, optimizers)


def save_state(state: TrainingState, path: Path, facts: dict[str, Any]) -> None:
    """Write the state; `facts` (the run's configuration) are kept beside it and checked on resume."""
    tensors: dict[str, Tensor] = {f"net/{name}": value for name, value in state.net.state_dict().items()}
    tensors |= {f"ema/{name}": value for name, value in state.ema.items()}
    for optimizer in state.optimizers.values():
        for name, parameter in state.net.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
    header = {
        "step": state.step,
        "best": state.best if state.best > float("-inf") else None,
        "seconds": state.seconds,
        "sums": state.sums,
        "summed": state.summed,
        "facts": facts,
    }
    with written_aside(path) as aside:
        aside.write_bytes(
            save(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                metadata={"training": json.dumps(header)},
            )
        )


def read_header(path: Path) -> dict[str, Any]:
    """What a state's file says without its tensors: "step", "facts" and so on.

    Raises:
        InputError: the file is not a training state.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header: dict[str, Any] = json.loads(file.metadata()["training"])
            header["facts"], header["step"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is not a training state: {error}", path) from None
    return header


def begun(path: Path) -> dict[str, Any] | None:
    """The header of a run that has a step to go on from; None where there is no file or no step was made.

    Raises:
        InputError: the file is not a training state.
    """
    header = read_header(path) if path.exists() else None
    return header if header is not None and header["step"] > 0 else None


def load_state(state: TrainingState, path: Path) -> None:
    """Restore the state from its file into `state`.

    Raises:
        InputError: the file is not a training state, or of another network.
    """
    header = read_header(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        state.net.load_state_dict({name: tensors[f"net/{name}"] for name in state.net.state_dict()})
        for name, average in state.ema.items():
            average.copy_(tensors[f"ema/{name}"])
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, kind, name = key.split("/", 2)
                moments.setdefault(name, {})[kind] = value
        names = {parameter: name for name, parameter in state.net.named_parameters()}
        for optimizer in state.optimizers.values():
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                if names[parameter] in moments:
                    optimizer.state[parameter] = {
                        kind: value if kind == "step" else torch.empty_like(parameter).copy_(value)
                        for kind, value in moments[names[parameter]].items()
                    }
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"is not a training state of this network: {error}", path) from None
    state.step = header["step"]
    state.best = header["best"] if header["best"] is not None else float("-inf")
    state.seconds = header["seconds"]
    state.sums = header.get("sums", {})
    state.summed = header.get("summed", 0)
