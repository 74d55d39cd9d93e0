"""The networks that a model file can hold, by kind."""

from collections.abc import Callable
from typing import Any

from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet
from mapdiff.networks.gan import GanConfig, GanNet
from mapdiff.networks.swin_unetr import SwinUnetr, SwinUnetrConfig

#: All are called as `DenoiserNet` is and have `config` and `multiple`.
Network = DenoiserNet | SwinUnetr | GanNet

_REBUILD: dict[str, Callable[[dict[str, Any]], Network]] = {
    "denoiser": lambda facts: DenoiserNet(DenoiserConfig.from_dict(facts)),
    "swin-unetr": lambda facts: SwinUnetr(SwinUnetrConfig.from_dict(facts)),
    "gan": lambda facts: GanNet(GanConfig.from_dict(facts)),
}
_KINDS: dict[type, str] = {DenoiserNet: "denoiser", SwinUnetr: "swin-unetr", GanNet: "gan"}


def described(net: Network) -> dict[str, Any]:
    """Kind and configuration, for JSON."""
    return {"kind": _KINDS[type(net)], **net.config.as_dict()}


def rebuilt(facts: dict[str, Any]) -> Network:
    """The inverse of `described`, with untrained weights; where no kind is told it is a denoiser.

    Raises:
        KeyError: the kind is unknown, or a figure is missing.
    """
    return _REBUILD[facts.get("kind", "denoiser")](facts)
