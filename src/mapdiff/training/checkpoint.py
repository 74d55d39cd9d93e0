"""The state of a training run in one safetensors file: no pickle, written whole or not at all."""

import json
from dataclasses import dataclass
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
        optimizer: Adam or AdamW over the net's parameters, in their order.
        step: optimiser steps done.
        best: best validation error so far.
        seconds: of training so far, over all sessions.
    """

    net: nn.Module
    ema: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = float("inf")
    seconds: float = 0.0

    def update_ema(self, decay: float) -> None:
        """Move the average towards the weights; the decay is weaker in the first steps."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                self.ema[name].lerp_(parameter.detach(), 1 - decay)


def start_state(net: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """The state before the first step."""
    ema = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    return TrainingState(net, ema, optimizer)


def save_state(state: TrainingState, path: Path, facts: dict[str, Any]) -> None:
    """Write the state; `facts` (the run's configuration) are kept beside it and checked on resume."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in state.net.named_parameters():
        tensors[f"net/{name}"] = parameter.detach()
        tensors[f"ema/{name}"] = state.ema[name]
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
    header = {
        "step": state.step,
        "best": state.best if state.best < float("inf") else None,
        "seconds": state.seconds,
        "facts": facts,
    }
    with written_aside(path) as aside:
        aside.write_bytes(
            save(
                {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
                metadata={"training": json.dumps(header)},
            )
        )


def load_state(state: TrainingState, path: Path) -> dict[str, Any]:
    """Restore the state from its file into `state`; return the facts that were saved with it.

    Raises:
        InputError: the file is not a training state, or of another network.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        with torch.no_grad():
            for name, parameter in state.net.named_parameters():
                parameter.copy_(tensors[f"net/{name}"])
                state.ema[name].copy_(tensors[f"ema/{name}"])
                moments = {
                    key.split("/")[1]: value
                    for key, value in tensors.items()
                    if key.startswith("optimizer/") and key.split("/", 2)[2] == name
                }
                if moments:
                    state.optimizer.state[parameter] = {
                        key: value if key == "step" else torch.empty_like(parameter).copy_(value)
                        for key, value in moments.items()
                    }
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"is not a training state of this network: {error}", path) from None
    state.step = header["step"]
    state.best = header["best"] if header["best"] is not None else float("inf")
    state.seconds = header["seconds"]
    facts: dict[str, Any] = header["facts"]
    return facts
