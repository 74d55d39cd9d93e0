"""The main job on a real scan: STS_001, GE Discovery ST, TCIA Soft-tissue-Sarcoma (CC BY 3.0).

The model was trained on simulated bodies only. The bounds are those the project promises, not the figures
reached; benchmarks/results/shipped.json has those.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.ndimage import gaussian_filter

from mapdiff.cohort.layout import doses_of
from mapdiff.dose import ANCHORS, FULL, dose_label
from mapdiff.evaluation.lesion_files import read_lesions
from mapdiff.evaluation.lesions import lesion_figures
from mapdiff.evaluation.metrics import nmae, psnr, total_activity_bias
from mapdiff.formats import read
from mapdiff.inference import Denoiser, Restoration
from mapdiff.inference.run import DenoiseOptions, denoise_file
from mapdiff.simulate.cohort import simulate_from_image
from mapdiff.volume import Acquisition, Volume

pytestmark = pytest.mark.slow
DOSE = Fraction(1, 20)
#: Voxel of the centre and radius in mm of spheres in STS_001, placed by eye.
REGIONS = {"liver": ((50, 64, 155), 25.0), "heart": ((75, 60, 178), 40.0), "muscle": ((40, 76, 58), 20.0)}


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser.from_pretrained()


@pytest.fixture(scope="module")
def scans(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Fraction, Volume]:
    folder = tmp_path_factory.mktemp("real") / "sts001"
    simulate_from_image(shared / "real_pet_sts001" / "dicom", folder, [DOSE, *ANCHORS], "quadra", seed=0)
    return {dose: read(path) for dose, path in doses_of(folder / "sub-001").items()}


@pytest.fixture(scope="module")
def restored(denoiser: Denoiser, scans: dict[Fraction, Volume]) -> Restoration:
    return denoiser.denoise(scans[DOSE])


def sphere(volume: Volume, centre: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    axes = [(np.arange(n) - c) * s for n, c, s in zip(volume.shape, centre, volume.spacing, strict=True)]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    return i**2 + j**2 + k**2 <= radius_mm**2


def test_noise_of_the_twentieth_is_that_of_a_real_one(scans: dict[Fraction, Volume]) -> None:
    full, low = scans[FULL].array, scans[DOSE].array
    from mapdiff.body import body_mask

    body = body_mask(full, scans[FULL].spacing)
    assert 0.25 <= (low - full)[body].std() / full[body].mean() <= 0.45


@pytest.mark.xfail(reason="not reached yet: see docs/benchmark.md, STS_001", strict=True)
def test_gain_over_the_input(scans: dict[Fraction, Volume], restored: Restoration) -> None:
    reference, low, image = scans[FULL].array, scans[DOSE].array, restored.image.array
    assert psnr(image, reference).value - psnr(low, reference).value >= 7.0
    assert nmae(image, reference).value <= 0.42 * nmae(low, reference).value


def test_gain_over_the_best_gaussian(scans: dict[Fraction, Volume], restored: Restoration) -> None:
    low, reference = scans[DOSE], scans[FULL].array
    filtered = [
        gaussian_filter(low.array, [width / 2.3548 / s for s in low.spacing])
        for width in np.arange(3, 14, 0.5)
    ]
    best = max(psnr(x, reference).value for x in filtered)
    assert psnr(restored.image.array, reference).value >= best + 1.0


def test_activity_organs_and_lesion_keep_their_means(
    shared: Path, scans: dict[Fraction, Volume], restored: Restoration
) -> None:
    full = scans[FULL]
    assert abs(total_activity_bias(restored.image.array, full.array).value) <= 1.0
    for name, where in REGIONS.items():
        region = sphere(full, *where)
        ratio = restored.image.array[region].mean() / full.array[region].mean()
        assert abs(ratio - 1) <= 0.03, f"{name}: {ratio}"
    (contours,) = (shared / "real_pet_sts001" / "rtstruct").glob("*.dcm")
    figures = lesion_figures(restored.image, full, read_lesions(contours, full))
    bias = {f.region: f.value for f in figures if f.name == "mean bias"}
    assert abs(bias["GTV_Mass"]) <= 5.0


def test_every_stage_beats_the_input_at_its_own_dose(
    scans: dict[Fraction, Volume], restored: Restoration
) -> None:
    assert restored.stages
    for dose in ANCHORS:
        if dose_label(dose) in restored.stages:
            target = scans[dose].array
            stage = restored.stages[dose_label(dose)].array
            assert nmae(stage, target).value < nmae(scans[DOSE].array, target).value
            assert psnr(stage, target).value > psnr(scans[DOSE].array, target).value


def test_header_changes_no_voxel_and_scale_passes_through(
    denoiser: Denoiser, scans: dict[Fraction, Volume], restored: Restoration
) -> None:
    low = scans[DOSE]
    bare = denoiser.denoise(Volume(low.array, low.affine, "unknown", Acquisition()))
    assert np.array_equal(bare.image.array, restored.image.array)
    scaled = denoiser.denoise(low.with_array(low.array * np.float32(3.7)))
    difference = scaled.image.array - 3.7 * restored.image.array
    assert np.abs(difference).max() <= 0.005 * 3.7 * np.abs(restored.image.array).max()
    assert np.sqrt(np.square(difference).mean()) <= 0.005 * 3.7 * restored.image.array.mean()


def test_dicom_in_dicom_out(shared: Path, denoiser: Denoiser, tmp_path: Path) -> None:
    simpleitk = pytest.importorskip("SimpleITK")
    source = shared / "real_pet_sts001" / "dicom"
    output = tmp_path / "restored"
    manifest = denoise_file(denoiser, source, output, DenoiseOptions(save_stages=True))

    before = {f.ImagePositionPatient[2]: f for f in map(pydicom.dcmread, sorted(source.glob("*.dcm")))}
    after = {f.ImagePositionPatient[2]: f for f in map(pydicom.dcmread, output.iterdir())}
    assert before.keys() == after.keys()
    for z, old in before.items():
        new = after[z]
        for tag in (
            "PatientID",
            "PatientName",
            "StudyInstanceUID",
            "Units",
            "PixelSpacing",
            "Rows",
            "Columns",
        ):
            assert new.get(tag) == old.get(tag), tag
        assert new.SeriesInstanceUID != old.SeriesInstanceUID

    def load(folder: Path) -> object:
        reader = simpleitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        return reader.Execute()

    ours, theirs = load(output), load(source)
    assert ours.GetSize() == theirs.GetSize()
    assert np.allclose(ours.GetSpacing(), theirs.GetSpacing(), atol=1e-3)
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-3)
    assert ours.GetDirection() == theirs.GetDirection()
    text = json.dumps(manifest)
    patient = next(iter(before.values()))
    assert str(patient.PatientName) not in text
