"""A trained model in one file: safetensors whose header holds all that rebuilds it."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from mapdiff.atomic import written_aside
from mapdiff.diffusion import transform
from mapdiff.diffusion.calibration import Calibration
from mapdiff.errors import InputError
from mapdiff.networks.kinds import Network, described, rebuilt

FORMAT = "mapdiff-model-1"


@dataclass(frozen=True)
class TrainedModel:
    """A network, ready to run, with what it was calibrated and trained on.

    Attributes:
        method: name of the method that it was trained by.
        net: the network, in evaluation mode.
        calibration: the path's.
        level_range: noise levels (NMAE against the noise-free image) that the training covered.
        training: facts of the run: data, steps, hours, versions.
    """

    method: str
    net: Network
    calibration: Calibration
    level_range: tuple[float, float]
    training: dict[str, Any] = field(default_factory=dict)


def save_model(model: TrainedModel, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the model's file, whole or not at all.

    Args:
        model: what to write.
        path: the file.
        dtype: of the weights in the file; float16 halves it and rounds them by 5e-4 of their size at most.
    """
    facts = {
        "format": FORMAT,
        "method": model.method,
        "network": described(model.net),
        "transform": transform.settings(),
        "calibration": model.calibration.as_dict(),
        "level_range": list(model.level_range),
        "training": model.training,
    }
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.net.state_dict().items()
    }
    with written_aside(path) as aside:
        aside.write_bytes(save(tensors, metadata={"mapdiff": json.dumps(facts)}))


def load_model(path: Path) -> TrainedModel:
    """Read a model's file.

    Raises:
        InputError: it is not there, is no model of ours, or was made for another intensity transform.
    """
    if not path.is_file():
        raise InputError("there is no such model file", path)
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("mapdiff", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"is not a model file: {error}", path) from None
    if facts.get("format") != FORMAT:
        raise InputError(f"is not a mapdiff model (format {facts.get('format')!r}, not {FORMAT!r})", path)
    if facts.get("transform") != transform.settings():
        raise InputError("was trained with another intensity transform than this version has", path)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InputError("is a broken mapdiff model: its weights are not all finite", path)
    try:
        net = rebuilt(facts["network"])
        net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        calibration = Calibration.from_dict(facts["calibration"])
        low, high = facts["level_range"]
        method, training = facts["method"], facts["training"]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"is a broken mapdiff model: {error}", path) from None
    net = net.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return TrainedModel(method, net, calibration, (low, high), training)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parameters(net: nn.Module) -> int:
    """How many numbers were trained."""
    return sum(p.numel() for p in net.parameters())
