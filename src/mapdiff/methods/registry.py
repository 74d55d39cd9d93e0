"""The methods by name."""

from collections.abc import Callable

from mapdiff.errors import InputError
from mapdiff.methods.base import Method
from mapdiff.methods.ddpm import Ddpm
from mapdiff.methods.gan import Gan
from mapdiff.methods.map_diff import MapDiff
from mapdiff.methods.map_diff_paper import MapDiffPaper
from mapdiff.methods.swin_unetr import SwinUnetrRegression
from mapdiff.methods.unet import UNet

METHODS: dict[str, Callable[[], Method]] = {
    "map-diff": MapDiff,
    "map-diff-paper": MapDiffPaper,
    "unet": UNet,
    "swin-unetr": SwinUnetrRegression,
    "gan": Gan,
    "ddpm": Ddpm,
    # Ablations, to be trained and compared at one budget.
    "map-diff-no-anchors": lambda: MapDiff(name="map-diff-no-anchors", anchor_weight=0.0),
    "map-diff-no-own-stages": lambda: MapDiff(name="map-diff-no-own-stages", own_stages=0.0),
    "map-diff-paper-no-anchors": lambda: MapDiffPaper(name="map-diff-paper-no-anchors", anchor_weight=0.0),
    "map-diff-paper-even": lambda: MapDiffPaper(name="map-diff-paper-even", calibrated=False),
    "map-diff-paper-unweighted": lambda: MapDiffPaper(
        name="map-diff-paper-unweighted", timestep_weighted=False
    ),
    "map-diff-paper-from-noise": lambda: MapDiffPaper(
        name="map-diff-paper-from-noise", start_from_noise=True, between=11
    ),
}


def method_named(name: str) -> Method:
    """The method of that name, with its settings.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        raise InputError(f"method '{name}' is unknown; there are {', '.join(METHODS)}")
    return METHODS[name]()
