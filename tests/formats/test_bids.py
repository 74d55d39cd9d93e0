import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapdiff import suv
from mapdiff.errors import InputError
from mapdiff.formats import acquisition_from_sidecar, bids, discover, read, sidecar, write
from mapdiff.volume import Acquisition, Volume

FULL = suv.completed(
    Acquisition(
        tracer="FDG",
        nuclide="F18",
        half_life_s=6586.2,
        injected_activity_bq=3.1e8,
        uptake_s=3600.0,
        weight_kg=71.5,
        height_m=1.8,
        sex="M",
        frame_s=120.0,
        manufacturer="ACME",
        model="Ring 1",
        reference_clock_s=39600.0,
    )
)


def volume(acquisition: Acquisition, unit: str = "Bq/mL") -> Volume:
    return Volume(np.ones((2, 2, 2), np.float32), np.eye(4), unit, acquisition)


def test_sidecar_and_back() -> None:
    fields = json.loads(json.dumps(sidecar(volume(FULL))))
    assert acquisition_from_sidecar(fields) == FULL
    assert fields["TimeZero"] == "10:00:00" and fields["Units"] == "Bq/mL"
    assert fields["InjectedRadioactivity"] == pytest.approx(310)


TIMES = {
    "TimeZero": "10:00:00", "InjectionStart": 0, "ScanStart": 3600, "ImageDecayCorrectionTime": 3600,
    "ImageDecayCorrected": True, "FrameTimesStart": [3600], "FrameDuration": [600],
}  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        TIMES,
        {**TIMES, "TimeZero": "11:00:00", "InjectionStart": -3600, "InjectionEnd": -3590,
         "InfusionStart": -3600, "ScanStart": 0, "ImageDecayCorrectionTime": 0, "FrameTimesStart": [0]},
        {**TIMES, "TimeZero": "10:00"},
    ],
)  # fmt: skip
def test_times_that_a_sidecar_tells_stay_as_they_are(tmp_path: Path, told: dict) -> None:
    """Denoising changes none; a time of injection that the user gives replaces them all."""
    facts = {"Modality": "PT", "Units": "Bq/mL", "RadionuclideHalfLife": 6586.2, "PatientWeight": 60}
    voxels = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    write(volume(Acquisition()).with_array(voxels), tmp_path / "a_pet.nii")
    (tmp_path / "a_pet.json").write_text(json.dumps({**facts, "InjectedRadioactivity": 300, **told}))
    scan = read(tmp_path / "a_pet.nii")
    assert scan.acquisition.uptake_s == 3600 and scan.acquisition.reference_clock_s == 39600
    write(scan, tmp_path / "b_pet.nii")
    again = json.loads((tmp_path / "b_pet.json").read_text())
    assert {name: again[name] for name in told} == told
    write(suv.with_supplied(scan, injection_time="10:30:00"), tmp_path / "c_pet.nii")
    other = json.loads((tmp_path / "c_pet.json").read_text())
    assert other["TimeZero"] == "10:30:00" and other["FrameTimesStart"] == [other["ScanStart"]] == [1800]
    assert "InjectionEnd" not in other and "InfusionStart" not in other
    assert read(tmp_path / "c_pet.nii").acquisition.uptake_s == 1800


@pytest.mark.parametrize("name", [f for f in FULL.__dataclass_fields__ if f not in ("supplied", "missing")])
def test_any_fact_may_be_missing(name: str) -> None:
    corrected_to = {"uptake_s": 0.0} if name == "scan_delay_s" else {}  # then alone it may not be told
    acquisition = suv.completed(replace(FULL, **corrected_to, **{name: None}))
    fields = json.loads(json.dumps(sidecar(volume(acquisition))))
    back = acquisition_from_sidecar(fields)
    if name == "uptake_s":  # the time of day counts from the injection
        acquisition = replace(acquisition, reference_clock_s=None)
    assert back == acquisition


def test_a_factor_without_facts_is_kept() -> None:
    bare = Acquisition(suv_per_bqml=2.5e-4)
    assert acquisition_from_sidecar(sidecar(volume(bare))).suv_per_bqml == 2.5e-4


def test_what_dcm2niix_writes_is_understood() -> None:
    facts = acquisition_from_sidecar(
        {
            "Radiopharmaceutical": "Fluorodeoxyglucose",
            "RadionuclideTotalDose": 3.7e8,
            "RadionuclideHalfLife": 6586.2,
            "PatientWeight": 80,
        }
    )
    assert facts.tracer == "Fluorodeoxyglucose"
    assert (facts.injected_activity_bq, facts.weight_kg) == (3.7e8, 80)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("PatientWeight", 7000, "weight_kg"),
        ("PatientWeight", -1, "weight_kg"),
        ("RadionuclideHalfLife", -6586, "half_life_s"),
        ("InjectedRadioactivity", -300, "injected_activity_bq"),
        ("InjectionStart", 7200, "uptake_s"),
    ],
)
def test_absurd_figures_give_no_suv_and_say_why(field: str, value: float, name: str) -> None:
    fields = sidecar(volume(FULL)) | {field: value}
    fields.pop("SUVbwPerBqPerML")
    facts = acquisition_from_sidecar(fields)
    assert getattr(facts, name) is None and facts.suv_per_bqml is None
    with pytest.raises(InputError, match="sidecar"):
        volume(facts).to("SUV")


@pytest.mark.parametrize("value", [None, "many", [], {}, True])
def test_fields_of_the_wrong_type_are_left_out(value: object) -> None:
    fields = sidecar(volume(FULL)) | {"PatientWeight": value, "TracerName": 3, "TimeZero": 5}
    facts = acquisition_from_sidecar(fields)
    assert facts.weight_kg is None and facts.tracer is None and facts.reference_clock_s is None


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Bq/mL", ("Bq/mL", 1)),
        ("BQML", ("Bq/mL", 1)),
        ("kBq / ml", ("Bq/mL", 1000)),
        ("g/ml", ("SUV", 1)),
        ("SUVbw", ("SUV", 1)),
        ("cps", None),
    ],
)
def test_units(text: str, unit: tuple[str, float] | None) -> None:
    assert bids.parse_unit(text) == unit


@pytest.mark.parametrize(
    ("name", "derived"),
    [
        ("sub-1_ses-2_rec-drf20_pet.nii.gz", "sub-1_ses-2_rec-drf20_desc-denoised_pet.nii.gz"),
        ("sub-1_desc-raw_pet.nii", "sub-1_desc-denoised_pet.nii"),
        ("scan.nii.gz", "scan_desc-denoised.nii.gz"),
    ],
)
def test_derivative_name(name: str, derived: str) -> None:
    assert bids.derivative_name(Path("x") / name, "denoised") == Path("x", derived).name


def test_discover(tmp_path: Path) -> None:
    for name in (
        "a/sub-1_pet.nii.gz",
        "a/sub-1_pet.json",
        "b.zip",
        "c/PT/1.dcm",
        "c/PT/2.IMA",
        "d/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c" / "bare").mkdir()
    (tmp_path / "c" / "bare" / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.nii").write_bytes(b"x")
    found = [str(path.relative_to(tmp_path)) for path in discover(tmp_path)]
    assert found == ["a/sub-1_pet.nii.gz", "b.zip", "c/PT", "c/bare"]
    assert discover(tmp_path / "c" / "PT") == [tmp_path / "c" / "PT"]
    assert discover(tmp_path / "b.zip") == [tmp_path / "b.zip"]
    assert discover(tmp_path / "d") == []
    with pytest.raises(InputError, match="not there"):
        discover(tmp_path / "nowhere")
