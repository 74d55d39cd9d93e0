"""Small hot spots keep the activity that the input has there.

An estimate that is best in the mean square takes part of every small lesion for noise: it cannot know which
of the faint peaks are real, so it lowers all. Where it shows a hot spot itself, the input is the better
witness of how hot that is: its mean over the spot is noisy, and has no bias. So the residual, averaged over
no more than a voxel's width, is put back there as it is; spots are so few that this costs hundredths of a dB.

A spot is what sticks out of every line through it: more active than what is left of the image when it is
opened by line segments of LENGTH_MM in 13 directions. A segment finds room along a vessel, a sheet (the
cortex, the skin) or inside an organ and up to its rim, but not in a ball that is smaller than it. (Openings
by segments and their maximum: Soille, Morphological Image Analysis, 2003.)
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mapdiff.diffusion.smoothing import reach, smooth

Float = NDArray[np.float32]
#: Length of the segments: a spot is smaller.
LENGTH_MM = 24.0
#: How far a spot sticks out, as a part of what it stands on: from the first on it is one in part, from the
#: second on wholly, lest a rounding decide.
CONTRAST = (0.3, 0.5)
#: Its activity, in units of the body's mean, in the same way: fainter ones are mostly noise.
ACTIVITY = (1.2, 1.5)
#: What a spot stands on counts as this at least, in units of the body's mean: in air all is contrast.
GROUND = 0.3
#: Width over which the residual is averaged in a spot, FWHM in mm.
KEPT_MM = 4.0
#: Width by which a spot is widened, FWHM in mm, and the part of a spot within that which counts as all.
WIDENED_MM, ENOUGH = 6.0, 0.25
#: One of each pair of opposite neighbours.
DIRECTIONS = tuple(d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0))


def keep_hot_spots(z_hat: Float, u: Float, spacing_mm: Sequence[float]) -> Float:
    """The estimate, with the input's activity where it has a hot spot.

    Args:
        z_hat: (I, J, K), linear, in units of the body's mean.
        u: the input, the same shape and scale.
        spacing_mm: voxel size.
    """
    weight = hot_spots(z_hat, spacing_mm)
    if not weight.any():
        return z_hat
    weight *= smooth(u - z_hat, KEPT_MM, spacing_mm)
    weight += z_hat
    return weight


def hot_spots(z_hat: Float, spacing_mm: Sequence[float]) -> Float:
    """How much of a voxel belongs to a hot spot, 0 to 1, the image's shape."""
    ground = opened(z_hat, spacing_mm)
    contrast: Float = (z_hat - ground) / ground.clip(min=np.float32(GROUND))
    found = _ramp(contrast, CONTRAST)
    found *= _ramp(z_hat, ACTIVITY)
    if not found.any():
        return found
    widened: Float = smooth(found, WIDENED_MM, spacing_mm) / np.float32(ENOUGH)
    return widened.clip(max=1)


def spot_reach(spacing_mm: Sequence[float], axis: int) -> int:
    """How many voxels away along an axis a voxel can still change what `keep_hot_spots` gives."""
    longest = max(_points(d, spacing_mm) for d in DIRECTIONS if d[axis]) - 1
    widths = [reach(width, spacing_mm[axis]) for width in (WIDENED_MM, KEPT_MM)]
    return max(longest + widths[0], widths[1])


def opened(values: Float, spacing_mm: Sequence[float]) -> Float:
    """The largest of the values' openings by a segment in each direction; nowhere above the values.

    Segments lie within the array: near its border those along it count, and where none has room, the array's
    least value stands.
    """
    lowest = values.min()
    best = np.full_like(values, lowest)
    for direction in DIRECTIONS:
        points = _points(direction, spacing_mm)
        room = [(points - 1) * abs(d) for d in direction]
        if any(r >= n for r, n in zip(room, values.shape, strict=True)):
            continue
        turned = tuple(slice(None, None, -1 if d < 0 else 1) for d in direction)
        steps = [abs(d) for d in direction]
        least = _of_segments(np.minimum, values[turned], steps, points)
        # Each voxel gets the most of the segments that it lies in.
        least = np.pad(least, [(r, r) for r in room], constant_values=lowest)
        np.maximum(best, _of_segments(np.maximum, least, steps, points)[turned], out=best)
    return best


def _points(direction: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """Voxels of a segment; two at least."""
    step = float(np.hypot.reduce([d * s for d, s in zip(direction, spacing_mm, strict=True)]))
    return max(round(LENGTH_MM / step), 1) + 1


def _of_segments(
    extreme: Callable[[Float, Float], Float], values: Float, steps: Sequence[int], points: int
) -> Float:
    """The extreme of each segment within the array, at its first voxel; the array is shorter by a segment."""
    done = 1
    while done < points:
        ahead = min(done, points - done)
        near = tuple(slice(0, n - ahead * s) for n, s in zip(values.shape, steps, strict=True))
        far = tuple(slice(ahead * s, n) for n, s in zip(values.shape, steps, strict=True))
        values = extreme(values[near], values[far])
        done += ahead
    return values


def _ramp(values: Float, ends: tuple[float, float]) -> Float:
    """0 below the first end, 1 above the second, straight between them."""
    low, high = ends
    found: Float = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return found
