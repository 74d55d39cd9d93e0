import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from small_series import IDENTITY

import mapdiff
from mapdiff import suv
from mapdiff.errors import InputError

RAS = np.array([[0.0, 0.0, 3.0, -40.0], [-4.0, 0.0, 0.0, 50.0], [0.0, 4.5, 0.0, -60.0], [0, 0, 0, 1]])


def voxels(shape: tuple[int, ...] = (7, 6, 5)) -> np.ndarray:
    return np.random.default_rng(3).uniform(10, 20000, shape)


def save(path: Path, array: np.ndarray, affine: np.ndarray = RAS, **codes: int) -> Path:
    image = nib.Nifti1Image(array, None)
    image.set_sform(affine, code=codes.get("sform", 1))
    image.set_qform(affine, code=codes.get("qform", 1))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Bq/mL"
    nib.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "int32", ">f4"])
def test_round_trip_keeps_voxels_and_place(tmp_path: Path, dtype: str, ending: str) -> None:
    array = np.asarray(voxels() / 100).astype(dtype)
    source = save(tmp_path / f"in{ending}", array)
    scan = mapdiff.read(source)
    np.testing.assert_array_equal(scan.array, array.astype(np.float32))
    np.testing.assert_allclose(scan.affine, RAS, atol=1e-5)
    assert scan.array.dtype == np.float32 and scan.unit == "Bq/mL"
    mapdiff.write(scan, tmp_path / f"out{ending}")
    before, after = nib.load(source), nib.load(tmp_path / f"out{ending}")
    np.testing.assert_array_equal(after.get_fdata(), array.astype(np.float32))
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.get_data_dtype() == ("float64" if dtype == "float64" else "float32")
    for field in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "xyzt_units", "descrip"):
        np.testing.assert_array_equal(after.header[field], before.header[field])


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (1, 4), (3, 1)])
def test_form_codes_are_kept(tmp_path: Path, qform: int, sform: int) -> None:
    source = save(tmp_path / "in.nii", voxels().astype("f4"), qform=qform, sform=sform)
    mapdiff.write(mapdiff.read(source), tmp_path / "out.nii")
    after = nib.load(tmp_path / "out.nii")
    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == (qform, sform)
    np.testing.assert_allclose(after.affine, nib.load(source).affine, atol=1e-6)


def test_scaled_integers_are_scaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), RAS)
    image.set_data_dtype(np.int16)  # nibabel finds scl_slope and scl_inter
    nib.save(image, tmp_path / "in.nii")
    stored = nib.load(tmp_path / "in.nii")
    assert stored.dataobj.slope != 1
    scan = mapdiff.read(tmp_path / "in.nii", unit="SUV")
    np.testing.assert_allclose(scan.array, stored.get_fdata(), rtol=1e-6)
    mapdiff.write(scan, tmp_path / "out.nii")
    after = nib.load(tmp_path / "out.nii")
    assert after.get_data_dtype() == np.float32
    np.testing.assert_array_equal(after.get_fdata(), scan.array)


@pytest.mark.parametrize("shape", [(7, 6, 5, 1), (7, 6, 5, 1, 1)])
def test_one_frame_is_squeezed_and_written_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save(tmp_path / "in.nii", voxels(shape).astype("f4"))
    scan = mapdiff.read(tmp_path / "in.nii")
    assert scan.shape == (7, 6, 5)
    mapdiff.write(scan, tmp_path / "out.nii")
    # nibabel drops trailing axes of length one beyond the fourth, as the format allows
    assert nib.load(tmp_path / "out.nii").shape == nib.load(tmp_path / "in.nii").shape


def test_unit_by_call_sidecar_description_in_that_order(tmp_path: Path) -> None:
    path = save(tmp_path / "a_pet.nii", voxels().astype("f4"))
    assert mapdiff.read(path).unit == "Bq/mL"
    (tmp_path / "a_pet.json").write_text(json.dumps({"Units": "SUV"}))
    assert mapdiff.read(path).unit == "SUV"
    assert mapdiff.read(path, unit="Bq/mL").unit == "Bq/mL"
    image = nib.load(path)
    image.header["descrip"] = b"made by a tool"
    (tmp_path / "a_pet.json").unlink()
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), tmp_path / "b.nii")
    unknown = mapdiff.read(tmp_path / "b.nii")
    assert unknown.unit == "unknown" and any("unknown unit" in warning for warning in unknown.warnings)
    with pytest.raises(InputError, match="--unit"):
        unknown.to("SUV")
    with pytest.raises(InputError, match="furlong"):
        mapdiff.read(path, unit="furlong")


def test_kilobecquerels(tmp_path: Path) -> None:
    path = save(tmp_path / "a_pet.nii", voxels().astype("f4"))
    (tmp_path / "a_pet.json").write_text(json.dumps({"Units": "kBq/mL"}))
    scan = mapdiff.read(path)
    assert scan.unit == "Bq/mL"
    np.testing.assert_allclose(scan.array, voxels() * 1000, rtol=1e-6)
    mapdiff.write(scan, tmp_path / "out_pet.nii")
    np.testing.assert_allclose(nib.load(tmp_path / "out_pet.nii").get_fdata(), voxels(), rtol=1e-6)
    np.testing.assert_allclose(mapdiff.read(tmp_path / "out_pet.nii").array, scan.array, rtol=1e-6)


@pytest.mark.parametrize(
    ("sidecar", "asked", "words"),
    [
        (None, "kBq/mL", b"Bq/mL"),
        ({}, "kBq/mL", b""),
        ({"Units": "Bq/mL"}, "kbq/ml", b""),
        (None, None, b"PET kBq/mL"),
        (None, "MBq/mL", b""),
    ],
)
@pytest.mark.parametrize("made", [{}, {"model": "m"}, {"description": "estimate"}, {"deidentify": True}])
def test_whoever_told_kilobecquerels_the_output_says_what_it_holds(
    tmp_path: Path, sidecar: dict[str, Any] | None, asked: str | None, words: bytes, made: dict[str, Any]
) -> None:
    image = nib.load(save(tmp_path / "plain.nii", voxels().astype("f4")))
    image.header["descrip"] = words
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), tmp_path / "a_pet.nii")
    if sidecar is not None:
        (tmp_path / "a_pet.json").write_text(json.dumps(sidecar))
    scan = mapdiff.read(tmp_path / "a_pet.nii", unit=asked)
    mapdiff.write(scan, tmp_path / "out_pet.nii", **made)
    again = mapdiff.read(tmp_path / "out_pet.nii")
    assert again.unit == scan.unit == "Bq/mL"
    np.testing.assert_allclose(again.array, scan.array, rtol=1e-6)


def test_another_unit_is_written_down(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels().astype("f4"))
    scan = suv.with_supplied(
        mapdiff.read(path), weight_kg=70, injected_activity_bq=3e8, uptake_s=3600, half_life_s=6586.2
    )
    mapdiff.write(scan.to("SUV"), tmp_path / "suv.nii.gz")
    again = mapdiff.read(tmp_path / "suv.nii.gz")
    assert again.unit == "SUV"
    np.testing.assert_allclose(again.array, scan.to("SUV").array, rtol=1e-6)
    np.testing.assert_allclose(again.to("Bq/mL").array, scan.array, rtol=1e-5)
    assert again.acquisition.supplied == scan.acquisition.supplied
    assert b"SUV" in bytes(nib.load(tmp_path / "suv.nii.gz").header["descrip"])


def test_a_scan_without_facts_gets_no_sidecar(tmp_path: Path) -> None:
    mapdiff.write(mapdiff.read(save(tmp_path / "a.nii", voxels().astype("f4"))), tmp_path / "b.nii.gz")
    assert not (tmp_path / "b.json").exists()


def test_sidecar_is_carried_and_generated_by_added(tmp_path: Path) -> None:
    path = save(tmp_path / "sub-1_pet.nii.gz", voxels().astype("f4"))
    fields: dict[str, Any] = {"Units": "Bq/mL", "ReconMethodName": "3D-OSEM", "PatientName": "DOE^JANE"}
    (tmp_path / "sub-1_pet.json").write_text(json.dumps(fields))
    scan = mapdiff.read(path)
    mapdiff.write(scan, tmp_path / "out_pet.nii.gz", model="map-diff-1", description="denoised")
    written = json.loads((tmp_path / "out_pet.json").read_text())
    assert written["ReconMethodName"] == "3D-OSEM" and written["PatientName"] == "DOE^JANE"
    assert written["GeneratedBy"][-1]["Name"] == "mapdiff"
    assert written["GeneratedBy"][-1]["Model"] == "map-diff-1"
    mapdiff.write(scan, tmp_path / "anon_pet.nii.gz", deidentify=True)
    assert not any(word in (tmp_path / "anon_pet.json").read_text() for word in IDENTITY)


def test_deidentify_clears_the_headers_free_text(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels().astype("f4"))
    image = nib.load(path)
    image.header["descrip"] = b"Bq/mL scan of DOE^JANE"
    image.header["db_name"], image.header["aux_file"] = b"MRN-4711", b"JANE.dcm"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE MRN-4711"))
    nib.save(image, tmp_path / "named.nii")
    assert b"JANE" in (tmp_path / "named.nii").read_bytes()
    scan = mapdiff.read(tmp_path / "named.nii")
    mapdiff.write(scan, tmp_path / "kept.nii")
    assert (tmp_path / "kept.nii").read_bytes().count(b"JANE") == 3
    mapdiff.write(scan, tmp_path / "out.nii", deidentify=True)
    content = (tmp_path / "out.nii").read_bytes()
    assert not any(word.encode() in content for word in IDENTITY)
    again = mapdiff.read(tmp_path / "out.nii")
    assert again.unit == "Bq/mL"
    np.testing.assert_array_equal(again.array, scan.array)


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels().astype("f4"))
    scan = mapdiff.read(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        mapdiff.write(scan, path)
    assert path.read_bytes() == before
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="exists"):
        mapdiff.write(scan, tmp_path / "b.nii", model="m")
    assert not (tmp_path / "b.nii").exists()
    mapdiff.write(scan.with_array(scan.array * 2), path, overwrite=True)
    np.testing.assert_allclose(mapdiff.read(path).array, scan.array * 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "b.json"]


def test_output_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    scan = mapdiff.read(save(tmp_path / "a.nii", voxels().astype("f4")))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        mapdiff.write(scan, tmp_path / "file" / "out.nii")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "file"]


def test_geometry_that_is_odd_is_warned_about(tmp_path: Path) -> None:
    none = save(tmp_path / "none.nii", voxels().astype("f4"), qform=0, sform=0)
    assert any("orientation" in warning for warning in mapdiff.read(none).warnings)
    image = nib.load(save(tmp_path / "a.nii", voxels().astype("f4")))
    moved = RAS.copy()
    moved[0, 3] += 30
    image.set_qform(moved, code=1)
    nib.save(image, tmp_path / "two.nii")
    assert any("sform" in warning for warning in mapdiff.read(tmp_path / "two.nii").warnings)


def test_nifti_2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(voxels().astype("f4"), RAS), tmp_path / "a.nii")
    scan = mapdiff.read(tmp_path / "a.nii", unit="SUV")
    mapdiff.write(scan, tmp_path / "b.nii")
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)
    np.testing.assert_array_equal(mapdiff.read(tmp_path / "b.nii", unit="SUV").array, scan.array)


def test_real_crops(shared: Path, tmp_path: Path) -> None:
    for folder in sorted((shared / "real_pet_nifti").iterdir()):
        scan = mapdiff.read(folder / "PET_image.nii.gz", unit="SUV")
        mapdiff.write(scan, tmp_path / f"{folder.name}.nii.gz")
        theirs, ours = nib.load(folder / "PET_image.nii.gz"), nib.load(tmp_path / f"{folder.name}.nii.gz")
        np.testing.assert_array_equal(theirs.get_fdata(), ours.get_fdata())
        np.testing.assert_array_equal(theirs.affine, ours.affine)
        with pytest.raises(InputError, match="mask"):
            mapdiff.read(folder / "PET_mask.nii.gz")


Make = Callable[..., Path]


def test_through_every_pair_of_formats(series: Make, tmp_path: Path) -> None:
    """Folder, zip and NIfTI hold the same scan: voxels, geometry, unit and SUV, whichever way it goes."""
    scan = mapdiff.read(series())
    half_step = float(scan.array.max()) / 32767 / 2
    for first in ("a", "a.zip", "a.nii", "a.nii.gz"):
        mapdiff.write(scan, tmp_path / f"one-{first}" / first)
        one = mapdiff.read(tmp_path / f"one-{first}" / first)
        seconds = ("b.nii", "c.nii.gz") if first.startswith("a.nii") else ("b", "b.zip", "b.nii", "c.nii.gz")
        for second in seconds:
            target = tmp_path / f"two-{first}" / second
            mapdiff.write(one, target)
            two = mapdiff.read(target)
            np.testing.assert_allclose(two.array, scan.array, atol=2.1 * half_step)
            np.testing.assert_allclose(two.affine, scan.affine, atol=1e-4)
            assert two.unit == "Bq/mL"
            np.testing.assert_allclose(two.to("SUV").array, scan.to("SUV").array, atol=1e-3)


def test_same_voxels_make_the_same_file(tmp_path: Path) -> None:
    scan = mapdiff.read(save(tmp_path / "a.nii", voxels().astype("f4")))
    for name in ("b", "c"):
        mapdiff.write(scan, tmp_path / f"{name}.nii.gz")
    files = [(tmp_path / f"{name}.nii.gz").read_bytes() for name in ("b", "c")]
    assert files[0] == files[1]
    assert files[0][3:8] == bytes(5)  # no name of a file and no time in the gzip header
    packed = gzip.decompress(files[0])
    assert packed[352:] == voxels().astype("<f4").tobytes(order="F")


def test_a_factor_to_suv_does_not_outlive_a_supplied_figure(tmp_path: Path) -> None:
    path = save(tmp_path / "a_pet.nii", voxels().astype("f4"))
    (tmp_path / "a_pet.json").write_text(json.dumps({"Units": "Bq/mL", "SUVbwPerBqPerML": 0.0003}))
    scan = mapdiff.read(path)
    assert scan.acquisition.suv_per_bqml == 0.0003
    mapdiff.write(scan, tmp_path / "same_pet.nii")
    assert mapdiff.read(tmp_path / "same_pet.nii").acquisition.suv_per_bqml == 0.0003
    heavier = suv.with_supplied(scan, weight_kg=90)  # of which weight the factor is, nobody knows
    assert heavier.acquisition.suv_per_bqml is None
    mapdiff.write(heavier, tmp_path / "out_pet.nii")
    assert mapdiff.read(tmp_path / "out_pet.nii").acquisition.suv_per_bqml is None


def test_without_identity_nothing_quotes_a_name_with_an_umlaut(tmp_path: Path) -> None:
    path = save(tmp_path / "a_pet.nii", voxels().astype("f4"))
    header = nib.load(path).header
    header["data_type"], header["db_name"] = b"Mueller", b"Mueller"
    nib.save(nib.Nifti1Image(voxels().astype("f4"), None, header), path)
    fields = {"Units": "Bq/mL", "PatientName": "Müller^Jörg", "TracerName": "FDG Müller"}
    (tmp_path / "a_pet.json").write_text(json.dumps(fields | {"ReconMethodName": "OSEM of Mueller"}))
    mapdiff.write(mapdiff.read(path), tmp_path / "out_pet.nii", deidentify=True)
    written = (tmp_path / "out_pet.nii").read_bytes()[:352]
    assert b"Mueller" not in written
    told = (tmp_path / "out_pet.json").read_text()
    assert "ller" not in told and json.loads(told)["Units"] == "Bq/mL"
