"""Six simulated bodies for each scanner, at full dose and a twentieth: docs/images/bodies-<scanner>.png.

    python docs/bodies.py --work runs/bodies

Maximum projections from the front, in inverse grey, SUV 0 to 7. Voxels of 4 mm, for time; a run that was
stopped goes on with the bodies that are missing.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mapdiff.cohort.layout import doses_of
from mapdiff.dose import FULL, dose_label
from mapdiff.formats import read
from mapdiff.simulate.cohort import CohortPlan, simulate_cohort
from mapdiff.simulate.scanner import PRESETS

DOSES = (FULL, Fraction(1, 20))
BODIES, STEP_MM, DARKEST_SUV, SEED = 6, 4.0, 7.0, 12
WIDTH_MM = 640.0


def projection(path: Path) -> np.ndarray:
    """The largest SUV from front to back, as seen from the front: the patient's right on the left."""
    volume = read(path)
    seen = volume.to("SUV").array.max(axis=1).T[::-1]
    margin = (seen.shape[1] - round(WIDTH_MM / STEP_MM)) // 2
    kept = seen[:, margin : seen.shape[1] - margin] if margin > 0 else seen
    return kept if volume.affine[0, 0] < 0 else kept[:, ::-1]


def main() -> None:
    """Simulate what is missing and draw a picture for each scanner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--scanner", choices=list(PRESETS), help="only this one")
    arguments = parser.parse_args()
    for scanner in [arguments.scanner] if arguments.scanner else PRESETS:
        plan = CohortPlan(BODIES, scanner, SEED, (STEP_MM,) * 3, None, DOSES)
        folders = simulate_cohort(plan, arguments.work / scanner)
        pictures = [[projection(doses_of(folder)[dose]) for folder in folders] for dose in DOSES]
        height = max(picture.shape[0] for row in pictures for picture in row)
        width = pictures[0][0].shape[1]
        figure, axes = plt.subplots(
            len(DOSES), BODIES, figsize=(BODIES * 1.7, len(DOSES) * 1.7 * height / width + 0.3), squeeze=False
        )
        for row, dose, shown in zip(axes, DOSES, pictures, strict=True):
            for axis, picture in zip(row, shown, strict=True):
                whole = np.zeros((height, width), np.float32)
                whole[: picture.shape[0]] = picture
                axis.imshow(whole, cmap="gray_r", vmin=0, vmax=DARKEST_SUV, interpolation="bilinear")
                axis.set_axis_off()
            row[0].set_title(dose_label(dose), fontsize=8, loc="left")
        figure.subplots_adjust(0, 0, 1, 0.97, wspace=0.01, hspace=0.06)
        figure.savefig(arguments.images / f"bodies-{scanner}.png", dpi=110, pil_kwargs={"optimize": True})
        plt.close(figure)


if __name__ == "__main__":
    main()
