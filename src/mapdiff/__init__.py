"""mapdiff: a full-dose PET image from an ultra-low-dose whole-body scan, progressively, in 3D.

Research use only; not a medical device.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mapdiff.formats import read, write
    from mapdiff.inference import Denoiser, denoise
    from mapdiff.volume import Volume

try:
    __version__ = version("mapdiff")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

#: What every page, manifest and help text says.
RESEARCH_USE = "Research use only. Not a medical device."

# Looked up at first use, so that `import mapdiff` and `mapdiff --help` do not wait for torch.
_HOMES = {
    "Denoiser": "mapdiff.inference",
    "Volume": "mapdiff.volume",
    "denoise": "mapdiff.inference",
    "read": "mapdiff.formats",
    "write": "mapdiff.formats",
}

__all__ = ["Denoiser", "Volume", "__version__", "denoise", "read", "write"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mapdiff' has no attribute '{name}'")
