"""From files to files: in kind, whole or not at all, and a batch that goes on."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

import mapdiff
from mapdiff.errors import InputError
from mapdiff.inference import run
from mapdiff.inference.batch import denoise_many
from mapdiff.inference.run import (
    DenoiseOptions,
    batch_target,
    beside,
    denoise_file,
    input_hash,
    manifest_path,
    output_path,
)
from mapdiff.inference.scans import scans_in
from synthetic import low_dose_volume


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def batch(denoiser, folder, output, overwrite=False, **options):
    options = DenoiseOptions(overwrite=overwrite, **options)
    said: list[str] = []
    result = denoise_many(
        denoiser,
        folder,
        scans_in(folder),
        output,
        options,
        lambda name: lambda done, total: None,
        said.append,
    )
    return result, said


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("a.nii.gz", "out.nii.gz", "out.nii.gz"),
        ("a.nii.gz", "out.nii", "out.nii"),
        ("a.nii.gz", "out", "out/a.nii.gz"),
        ("A.NII", "out", "out/A.NII"),
        ("a.nii.gz", "results.final", "results.final/a.nii.gz"),
        ("series", "out", "out"),
    ],
)
def test_where_the_result_goes(tmp_path, source, output, expected):
    path = tmp_path / source
    path.mkdir() if source == "series" else path.write_text("")
    assert output_path(path, tmp_path / output) == tmp_path / expected


def test_names_of_companions():
    assert beside(Path("x/scan.nii.gz"), "dose-1-10") == Path("x/scan_dose-1-10.nii.gz")
    assert beside(Path("x/v1.2"), "deviation") == Path("x/v1.2_deviation")
    assert beside(Path("x/s.zip"), "deviation") == Path("x/s_deviation.zip")
    assert manifest_path(Path("x/scan.nii.gz")) == Path("x/scan_manifest.json")
    assert manifest_path(Path("x/v1.2")) == Path("x/v1.2_manifest.json")


def test_nifti_in_nifti_out_with_stages_and_manifest(denoiser, scans, tmp_path):
    source, output = scans / "a.nii.gz", tmp_path / "out" / "restored.nii.gz"
    manifest = denoise_file(denoiser, source, output, DenoiseOptions(save_stages=True))
    before, after = mapdiff.read(source), mapdiff.read(output)
    assert after.shape == before.shape and after.unit == before.unit
    np.testing.assert_allclose(after.affine, before.affine)
    np.testing.assert_allclose(after.array, denoiser.denoise(before).image.array, rtol=1e-6)
    images = {p.name for p in output.parent.glob("*.nii.gz")}
    assert images == {"restored.nii.gz", *(f"restored_dose-1-{n}.nii.gz" for n in (2, 4, 10))}
    assert set(manifest["outputs"]) == images
    assert json.loads(manifest_path(output).read_text()) == manifest
    assert "Research use only" in manifest["note"]
    assert manifest["model"]["sha256"] == denoiser.hash
    assert manifest["input"]["sha256_of_voxels_and_affine"] == input_hash(before)
    assert manifest["input"]["shape"] == [24, 24, 16] and manifest["network_evaluations"] == 3
    assert manifest["noise_level"]["value"] > 0 and list(manifest["stages"]) == ["1/10", "1/4", "1/2"]
    assert not [name for name in tree(output.parent) if "aside" in name]


def test_dicom_in_dicom_out(denoiser, tmp_path):
    helper = Path(__file__).parents[1] / "formats" / "small_series.py"
    spec = importlib.util.spec_from_file_location("small_series_of_formats", helper)
    small_series = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small_series)
    body = low_dose_volume((24, 24, 16)).array.clip(0) / 4  # the slopes are 0.5 and more, the pixels 16 bit
    headers = small_series.make_headers(slices=16, rows=24, columns=24)
    for k, header in enumerate(headers):
        header.PixelData = (body[:, :, k] / float(header.RescaleSlope)).round().astype("<i2").tobytes()
    source = small_series.save_headers(headers, tmp_path / "series")
    output = tmp_path / "restored"
    manifest = denoise_file(denoiser, source, output, DenoiseOptions())
    before, after = mapdiff.read(source), mapdiff.read(output)
    assert len(list(output.iterdir())) == 16 and manifest["outputs"] == ["restored"]
    with pytest.raises(InputError, match="lies in the input's folder"):
        denoise_file(denoiser, source, source / "restored", DenoiseOptions())
    assert len(list(source.iterdir())) == 16
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-3)
    assert after.unit == before.unit == "Bq/mL"
    expected = denoiser.denoise(before).image.array
    np.testing.assert_allclose(after.array, expected, atol=1e-3 * expected.max())
    assert (tmp_path / "restored_manifest.json").is_file()


def test_what_is_there_is_not_replaced_unless_asked(denoiser, scans, tmp_path):
    output = tmp_path / "out.nii.gz"
    for path in (output, manifest_path(output)):
        path.write_text("precious")
        with pytest.raises(InputError, match="--overwrite"):
            denoise_file(denoiser, scans / "a.nii.gz", output, DenoiseOptions())
        assert path.read_text() == "precious" and set(tree(tmp_path)) - set(tree(scans)) >= {path.name}
        path.unlink()
    output.write_text("old")
    denoise_file(denoiser, scans / "a.nii.gz", output, DenoiseOptions(overwrite=True))
    assert mapdiff.read(output).shape == (24, 24, 16)


@pytest.mark.parametrize("kind", ["broken", "missing", "empty", "without a body"])
def test_bad_input_leaves_nothing(denoiser, tmp_path, kind):
    source = tmp_path / "bad.nii.gz"
    if kind == "broken":
        source.write_text("hello")
    elif kind == "empty":
        source.write_bytes(b"")
    elif kind == "without a body":
        volume = low_dose_volume()
        mapdiff.write(volume.with_array(-np.abs(volume.array) - 1), source)
    with pytest.raises(InputError, match=r"bad\.nii\.gz") as caught:
        denoise_file(denoiser, source, tmp_path / "out" / "x.nii.gz", DenoiseOptions(save_stages=True))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_batch_goes_on_after_a_bad_scan_and_skips_what_is_done(denoiser, scans, tmp_path):
    output = tmp_path / "out"
    result, said = batch(denoiser, scans, output)
    assert [p.name for p in result.done] == ["a.nii.gz", "c.nii"] and not result.skipped
    ((bad, cause),) = result.failed
    assert bad.name == "b.nii.gz" and "b.nii.gz" in cause and any("b.nii.gz" in line for line in said)
    each = [(".nii.gz", "a"), (".nii", "deep/c")]
    assert set(tree(output)) == {
        stem + end for ending, stem in each for end in (ending, ".json", "_manifest.json")
    }
    before = tree(output)
    again, _ = batch(denoiser, scans, output)
    assert [p.name for p in again.skipped] == ["a.nii.gz", "c.nii"] and not again.done
    assert [p.name for p, _ in again.failed] == ["b.nii.gz"] and tree(output) == before


def test_a_batch_tells_what_was_done_with_other_options(denoiser, scans, tmp_path):
    result, _ = batch(denoiser, scans, tmp_path / "out")
    assert not result.otherwise
    for path in (tmp_path / "out").glob("a_manifest.json"):
        facts = json.loads(path.read_text())
        facts["parameters"]["fast"] = True
        path.write_text(json.dumps(facts))
    again, _ = batch(denoiser, scans, tmp_path / "out")
    assert [p.name for p in again.skipped] == ["a.nii.gz", "c.nii"]
    assert [p.name for p in again.otherwise] == ["a.nii.gz"]


def test_a_batch_takes_no_other_scans_result_for_this_ones(denoiser, scans, tmp_path):
    output = tmp_path / "out"
    batch(denoiser, scans, output)
    before = tree(output)
    moved = scans.rename(tmp_path / "moved")
    again, _ = batch(denoiser, moved, output)  # another place, the same voxels
    assert [p.name for p in again.skipped] == ["a.nii.gz", "c.nii"]
    (tmp_path / "other").mkdir()
    mapdiff.write(low_dose_volume(seed=77), tmp_path / "other" / "a.nii.gz")
    other, _ = batch(denoiser, tmp_path / "other", output)
    assert not other.done and not other.skipped
    assert "a.nii.gz: its result there was made from other voxels" in other.failed[0][1]
    assert tree(output) == before


def test_a_batch_sees_that_a_scan_was_replaced(denoiser, scans, tmp_path):
    output = tmp_path / "out"
    batch(denoiser, scans, output)
    later = manifest_path(output / "a.nii.gz").stat().st_mtime + 10
    os.utime(scans / "a.nii.gz", (later, later))
    result, _ = batch(denoiser, scans, output)  # touched alone
    assert [p.name for p in result.skipped] == ["a.nii.gz", "c.nii"]
    mapdiff.write(low_dose_volume(seed=77), scans / "a.nii.gz", overwrite=True)
    os.utime(scans / "a.nii.gz", (later, later))
    result, _ = batch(denoiser, scans, output)
    assert [p.name for p in result.skipped] == ["c.nii"]
    assert "a.nii.gz: its result there was made from other voxels" in dict(result.failed)[scans / "a.nii.gz"]


def test_where_a_batch_puts_its_results():
    folder, out = Path("in/P1"), Path("res/out")
    assert batch_target(folder / "a/b.nii", folder, out) == out / "a/b.nii"
    assert batch_target(folder / "PET", folder, out) == out / "PET"
    assert batch_target(folder, folder, out) == out / "P1"  # a series that is spread over its subfolders


@pytest.mark.parametrize("name", [".", "..", "x/.."])
def test_a_series_folder_needs_a_name(tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="give the folder that the series goes to a name"):
        output_path(tmp_path / "in", Path(name))
    (tmp_path / "a.nii").write_text("")
    assert output_path(tmp_path / "a.nii", Path(name)) == Path(name) / "a.nii"


def test_a_batch_makes_again_what_a_stop_left_without_manifest(denoiser, scans, tmp_path):
    output = tmp_path / "out"
    batch(denoiser, scans, output)
    manifest_path(output / "a.nii.gz").unlink()
    result, _ = batch(denoiser, scans, output)
    assert [p.name for p in result.done] == ["a.nii.gz"] and manifest_path(output / "a.nii.gz").is_file()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.json", "a_dose-1-2.nii.gz"])
def test_a_batch_replaces_nothing_that_is_not_mapdiffs(denoiser, scans, tmp_path, name):
    """Full-dose references under the scans' names, say, in the folder that is given for the results."""
    output = tmp_path / "out"
    output.mkdir()
    if name.endswith("json"):
        (output / name).write_text('{"Modality": "PT", "GeneratedBy": [{"Name": "another"}]}')
    else:
        mapdiff.write(low_dose_volume(seed=5), output / name)
    before = (output / name).read_bytes()
    result, _ = batch(denoiser, scans, output, save_stages=True)
    assert [p.name for p in result.done] == ["c.nii"] and (output / name).read_bytes() == before
    assert f"{name}: exists already and is not mapdiff's" in dict(result.failed)[scans / "a.nii.gz"]
    assert not manifest_path(output / "a.nii.gz").exists()


def test_a_stage_does_not_take_another_scans_name(denoiser, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate(("a.nii.gz", "a_dose-1-2.nii.gz")):
        mapdiff.write(low_dose_volume(seed=seed), folder / name)
    result, _ = batch(denoiser, folder, tmp_path / "out", save_stages=True)
    assert len(result.done) == 1 and "names of those of a.nii.gz" in result.failed[0][1]
    result, _ = batch(denoiser, folder, tmp_path / "plain")
    assert len(result.done) == 2 and not result.failed


def test_what_a_manifest_names_and_is_gone_is_made_again(denoiser, scans, tmp_path):
    output = tmp_path / "out"
    batch(denoiser, scans, output)
    (output / "a.nii.gz").unlink()
    result, _ = batch(denoiser, scans, output)
    assert [p.name for p in result.done] == ["a.nii.gz"] and (output / "a.nii.gz").is_file()


def test_what_nobody_foresaw_of_one_scan_stops_no_other(denoiser, scans, tmp_path, monkeypatch):
    denoise = denoiser.denoise

    def failing(volume, **settings):
        if volume.array.sum() == mapdiff.read(scans / "a.nii.gz").array.sum():
            raise MemoryError("DOE^JANE")
        return denoise(volume, **settings)

    monkeypatch.setattr(denoiser, "denoise", failing)
    result, said = batch(denoiser, scans, tmp_path / "out")
    assert [p.name for p in result.done] == ["c.nii"] and "JANE" not in str(result.failed) + str(said)
    assert "MemoryError" in dict(result.failed)[scans / "a.nii.gz"]


def test_a_full_disk_leaves_none_of_the_results(denoiser, scans, tmp_path, monkeypatch):
    count = 0

    def full(*words, **settings):
        nonlocal count
        count += 1
        if count == 3:
            raise InputError("cannot be written: No space left on device")
        return mapdiff.write(*words, **settings)

    output = tmp_path / "out.nii.gz"
    options = DenoiseOptions(save_stages=True)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space"):
        patch.setattr(run, "write", full)
        denoise_file(denoiser, scans / "a.nii.gz", output, options)
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]
    denoise_file(denoiser, scans / "a.nii.gz", output, options)
    assert manifest_path(output).is_file()


@pytest.mark.parametrize(("good", "kept"), [(0, True), (2, False)])
def test_a_full_disk_keeps_the_manifest_of_what_was_not_replaced(
    denoiser, scans, tmp_path, monkeypatch, good, kept
):
    output = tmp_path / "out.nii.gz"
    options = DenoiseOptions(save_stages=True, overwrite=True)
    denoise_file(denoiser, scans / "a.nii.gz", output, options)
    told, count = manifest_path(output).read_bytes(), 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("out*")}

    def full(*words, **settings):
        nonlocal count
        count += 1
        if count > good:
            raise InputError("cannot be written: No space left on device")
        return mapdiff.write(*words, **settings)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space"):
        patch.setattr(run, "write", full)
        denoise_file(denoiser, scans / "deep" / "c.nii", output, options)
    assert manifest_path(output).exists() == kept
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*out*")}
    if kept:
        assert after == before and manifest_path(output).read_bytes() == told
    else:  # some stages are of the other scan: no manifest may say whose they are
        assert after.keys() == before.keys() - {manifest_path(output).name} and after != before


def test_an_existing_stage_is_told_before_the_work(denoiser, scans, tmp_path, monkeypatch):
    (tmp_path / "out_dose-1-2.nii.gz").write_text("mine")
    monkeypatch.setattr(denoiser, "denoise", None)
    with pytest.raises(InputError, match="out_dose-1-2"):
        denoise_file(denoiser, scans / "a.nii.gz", tmp_path / "out.nii.gz", DenoiseOptions(save_stages=True))


def test_the_inputs_sidecar_is_not_the_results(denoiser, scans):
    sidecar = scans / "a.json"
    sidecar.write_text(json.dumps({"Modality": "PT", "Units": "Bq/mL"}))
    before = sidecar.read_bytes()
    with pytest.raises(InputError, match="would take the input's sidecar"):
        denoise_file(denoiser, scans / "a.nii.gz", scans / "a.nii", DenoiseOptions(overwrite=True))
    assert sidecar.read_bytes() == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_batch_never_replaces_its_own_input(denoiser, scans, overwrite):
    before = tree(scans)
    result, _ = batch(denoiser, scans, scans, overwrite)
    assert not result.done and len(result.failed) == 3
    assert tree(scans) == before


def test_a_scan_is_never_replaced_by_its_result(denoiser, scans):
    before = tree(scans)
    with pytest.raises(InputError, match=r"a\.nii\.gz.*is the input"):
        denoise_file(denoiser, scans / "a.nii.gz", scans / "a.nii.gz", DenoiseOptions(overwrite=True))
    assert tree(scans) == before


def test_two_scans_of_one_name_do_not_hide_each_other(denoiser, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    mapdiff.write(low_dose_volume(seed=1), folder / "a.nii.gz")
    mapdiff.write(low_dose_volume(seed=2), folder / "a.nii")
    result, _ = batch(denoiser, folder, tmp_path / "out")
    assert len(result.done) + len(result.failed) == 2  # never passed over in silence
