"""What tests of several rooms share."""

import json
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data that does not belong to the project; tests skip where it is not there."""
    data = Path(os.environ.get("MAPDIFF_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not data.is_dir():
        pytest.skip(f"the shared data is not there: {data}")
    return data


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny model that averages over a few voxels."""
    from mapdiff.methods.model_file import save_model
    from synthetic import small_trained_model

    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(small_trained_model(), path)
    return path


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth bodies at nested doses, with the noise-free truth; read it, do not write to it."""
    from mapdiff.cohort.layout import COHORT_FILE, SUBJECT_FILE, dose_path, truth_path, write_image
    from synthetic import nested_scans, smooth_body, volume_of

    cohort = tmp_path_factory.mktemp("cohorts") / "tiny"
    for number in range(1, 4):
        name = f"sub-{number:03d}"
        subject = cohort / name
        z = smooth_body(seed=number)
        for dose, scan in nested_scans(z, seed=number).items():
            write_image(volume_of(4000 * scan), dose_path(subject, name, dose))
        write_image(volume_of(4000 * z), truth_path(subject, name, "noisefree"))
        (subject / SUBJECT_FILE).write_text(json.dumps({"subject": name}))
    (cohort / COHORT_FILE).write_text(json.dumps({"kind": "mapdiff cohort", "simulated": True}))
    return cohort
