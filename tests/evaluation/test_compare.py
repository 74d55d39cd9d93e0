"""Compare two scans: grids, units, the table, the JSON and the command."""

import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from mapdiff.errors import InputError
from mapdiff.evaluation.compare import common_factors, compare
from mapdiff.evaluation.masks import LesionMask, from_labels
from mapdiff.evaluation.metrics import Figure
from mapdiff.evaluation.regions import interior_cov, region_figures
from mapdiff.evaluation.tables import figures_json, figures_table, printed_name, write_json
from mapdiff.suv import completed, with_supplied
from mapdiff.volume import Acquisition, Volume

#: 70 kg and 250 MBq at the time of the scan: 1 SUV = 3571 Bq/mL.
KNOWN = Acquisition(
    weight_kg=70, injected_activity_bq=250e6, half_life_s=6586.2, uptake_s=0, suv_per_bqml=70e3 / 250e6
)


@pytest.fixture
def reference():
    rng = np.random.default_rng(0)
    array = rng.gamma(0.5, 0.02, (24, 22, 26))
    array[4:20, 4:18, 2:24] = rng.normal(1, 0.1, (16, 14, 22))
    array[8:12, 8:12, 8:12] = 20
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    return Volume((array * 3571.43).astype(np.float32), affine, "Bq/mL", KNOWN)


@pytest.fixture
def prediction(reference):
    noise = np.random.default_rng(1).normal(1.02, 0.2, reference.shape)
    return reference.with_array((reference.array * noise).astype(np.float32))


def by_key(figures):
    found = {(f.protocol, f.region, f.name): f for f in figures}
    assert len(found) == len(figures)
    return found


def test_all_conventions_in_suv(prediction, reference):
    figures = by_key(compare(prediction, reference))
    for key in [
        *[("mapdiff", "volume", n) for n in ("psnr", "ssim", "nmae", "nrmse", "total activity bias")],
        *[("mapdiff", "body", n) for n in ("psnr", "nmae", "nrmse", "total activity bias")],
        *[("udpet", "volume", n) for n in ("psnr", "ssim", "nrmse")],
        *[("yu-gong", "volume", n) for n in ("psnr", "ssim")],
    ]:
        assert math.isfinite(figures[key].value), key
        assert "SUV by body weight" in figures[key].convention
    assert "peak 20 SUV" in figures["mapdiff", "volume", "psnr"].convention
    assert figures["mapdiff", "volume", "total activity bias"].value == pytest.approx(2, abs=1)
    assert figures["yu-gong", "volume", "psnr"].value > figures["mapdiff", "volume", "psnr"].value
    assert figures["mapdiff", "body", "psnr"].value < figures["mapdiff", "volume", "psnr"].value


def test_units_are_reconciled_where_they_can_be(prediction, reference):
    whole = by_key(compare(prediction, reference))
    bare = Volume(prediction.array, prediction.affine, "Bq/mL")
    for x, y in [(prediction.to("SUV"), reference), (bare, reference)]:
        for key, figure in by_key(compare(x, y)).items():
            assert figure.value == pytest.approx(whole[key].value, rel=1e-4), key
    stored = by_key(compare(bare, Volume(reference.array, reference.affine, "Bq/mL")))
    assert ("yu-gong", "volume", "psnr") not in stored
    figure = stored["mapdiff", "volume", "psnr"]
    assert "Bq/mL, SUV not known" in figure.convention
    assert figure.value == pytest.approx(whole["mapdiff", "volume", "psnr"].value, rel=1e-4)
    unknown = [Volume(v.array, v.affine) for v in (prediction, reference)]
    assert "unit unknown" in compare(*unknown)[0].convention


def test_units_that_cannot_be_reconciled(prediction, reference):
    bare = Volume(reference.array, reference.affine, "Bq/mL")
    with pytest.raises(InputError, match="Bq/mL, SUV"):
        compare(prediction.to("SUV"), bare)
    with pytest.raises(InputError, match="different units"):
        compare(Volume(prediction.array, prediction.affine), bare)


def test_other_grids_are_refused(prediction, reference):
    moved = reference.affine.copy()
    moved[2, 3] += 2
    for other in (
        Volume(prediction.array, moved, "Bq/mL", KNOWN),
        Volume(prediction.array[:-1], reference.affine, "Bq/mL", KNOWN),
        Volume(prediction.array[::-1], reference.affine @ np.diag([-1.0, 1, 1, 1]), "Bq/mL", KNOWN),
    ):
        with pytest.raises(InputError, match="not on one grid"):
            compare(other, reference)


def test_thin_slab_has_no_ssim(prediction, reference):
    thin = [Volume(v.array[:, :, 8:14], v.affine, v.unit, KNOWN) for v in (prediction, reference)]
    names = {f.name for f in compare(*thin)}
    assert "ssim" not in names
    assert "psnr" in names


def printed(figures):
    file = io.StringIO()
    Console(width=400, file=file).print(figures_table(figures))
    return file.getvalue()


def test_table_prints_every_figure_and_its_convention(prediction, reference):
    labels = np.zeros(reference.shape, int)
    labels[8:12, 8:12, 8:12] = 1
    lesions = LesionMask(reference.shape, reference.affine, tuple(from_labels(labels)))
    figures = compare(prediction, reference, lesions)
    text = printed(figures)
    for figure in figures:
        shown = figure.name.removesuffix(" reference").removesuffix(" bias")
        shown = figure.name if shown == "total activity" else shown
        assert printed_name(shown) in text
        assert figure.convention.removeprefix("x / y - 1 of: ") in text, figure
    row = re.search(r"SUVmean .*", text).group()
    bias = next(f for f in figures if f.name == "suvmean bias").value
    assert f"{bias:+.2f}" in row
    assert "nan" not in text


def test_json_holds_infinity_without_breaking_json(tmp_path, reference):
    figures = compare(reference, reference)
    path = tmp_path / "figures.json"
    write_json(figures_json(figures, mapdiff="0"), path)
    rows = json.loads(path.read_text())["figures"]
    assert len(rows) == len(figures)
    assert rows[0]["name"] == "psnr"
    assert rows[0]["value"] is None
    assert rows[0]["value_text"] == "infinite"
    assert rows[1]["value"] == pytest.approx(1)
    assert all(row["convention"] for row in rows)
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


def test_markup_in_names_is_printed_as_it_is():
    text = printed([Figure("suvmax", 2.0, "SUV", "mask [/b] as given", region="[red]mass")])
    assert "[red]mass" in text
    assert "mask [/b] as given" in text


def test_regions(prediction, reference):
    labels = np.zeros(reference.shape, int)
    labels[4:8, 4:8, 4:8], labels[14:18, 10:14, 14:18] = 1, 2
    names = {1: "liver", 2: "muscle", 3: "not there"}
    array = reference.array.copy()
    array[labels == 1] *= 1.1
    figures = {(f.region, f.name): f for f in region_figures(array, reference.array, labels, names)}
    assert figures["liver", "mean bias"].value == pytest.approx(10, abs=1e-3)
    assert figures["liver", "max bias"].value == pytest.approx(10, abs=1e-3)
    assert figures["muscle", "mean bias"].value == pytest.approx(0, abs=1e-6)
    assert figures["muscle", "cov"].value == pytest.approx(10, abs=3)
    assert {region for region, _ in figures} == {"liver", "muscle"}
    with pytest.raises(InputError, match="none of"):
        region_figures(array, array, labels, {9: "heart"})


def test_headers_that_disagree_are_no_error_of_the_image(reference):
    """The same Bq/mL, the weight of one corrected by hand: the image is the same."""
    heavier = with_supplied(reference, weight_kg=1.2 * reference.acquisition.weight_kg)
    factors, unit, remark = common_factors([heavier, reference])
    assert unit == "SUV" and factors == pytest.approx([reference.acquisition.suv_per_bqml] * 2)
    assert "by the last image's weight" in remark
    figures = {(f.region, f.name): f.value for f in compare(heavier, reference) if f.protocol == "mapdiff"}
    assert figures["volume", "nmae"] == 0 and figures["volume", "total activity bias"] == 0
    assert common_factors([reference, reference])[2] == "SUV by body weight"
    # Another dose or another time of correction is another image: there each header is right.
    facts = replace(reference.acquisition, uptake_s=0.0)
    admin = completed(facts).suv_per_bqml
    early = replace(
        reference,
        array=reference.array * np.float32(reference.acquisition.suv_per_bqml / admin),
        acquisition=completed(facts),
    )
    found = {(f.region, f.name): f.value for f in compare(early, reference) if f.protocol == "mapdiff"}
    assert found["volume", "nmae"] == pytest.approx(0, abs=1e-6)


def test_noise_inside_an_organ_is_neither_its_edges_nor_its_lesions():
    """A ball with noise of 4 %, blurred at the edge, with a hot lesion in it."""
    i, j, k = np.indices((40, 40, 40))
    distance = 4.0 * np.sqrt((i - 20) ** 2 + (j - 20) ** 2 + (k - 20) ** 2)
    organ, lesion = distance < 60, np.abs(i - 20) + np.abs(j - 20) + np.abs(k - 24) < 3
    noise = np.random.default_rng(3).normal(0, 0.04, organ.shape)
    image = (np.clip((66 - distance) / 12, 0, 1) * (1 + noise) + 5 * lesion).astype(np.float32)
    figure = interior_cov(image, organ, lesion, (4.0, 4.0, 4.0), "liver")
    assert figure is not None and figure.region == "liver"
    assert figure.value == pytest.approx(4, rel=0.03)
    whole = image[organ].std() / image[organ].mean()
    assert 100 * whole > 20
    edge = np.zeros_like(organ)
    edge[5:9] = organ[5:9]
    assert interior_cov(image, edge, None, (4.0, 4.0, 4.0), "rim") is None
    assert interior_cov(image, np.zeros_like(organ), None, (4.0, 4.0, 4.0), "none") is None


# The command ------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, prediction, reference):
    from mapdiff.formats import write

    write(reference, tmp_path / "full.nii.gz")
    write(prediction, tmp_path / "low.nii.gz")
    return tmp_path


def run(capsys, *arguments):
    """Exit code, stdout and stderr of `mapdiff evaluate`, with the errors turned into codes as in `run`."""
    import typer

    from mapdiff.cli.evaluate import evaluate
    from mapdiff.errors import MapdiffError

    app = typer.Typer(add_completion=False)
    app.command()(evaluate)
    code = 0
    try:
        app([str(argument) for argument in arguments], standalone_mode=False)
    except MapdiffError as error:
        code = error.exit_code
        print(error)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_prints_and_writes(files, capsys):
    code, out, _ = run(capsys, files / "low.nii.gz", files / "full.nii.gz", "--json", files / "f.json")
    assert code == 0
    assert "PSNR" in out
    assert "UDPET challenge" in out
    content = json.loads((files / "f.json").read_text())
    psnr = content["figures"][0]
    assert psnr["unit"] == "dB"
    assert f"{psnr['value']:.2f}" in out
    assert content["reference"].endswith("full.nii.gz")


def test_command_refuses_in_one_line_and_writes_nothing(files, capsys, reference):
    from mapdiff.formats import write

    write(Volume(reference.array[:-2], reference.affine, "Bq/mL"), files / "short.nii.gz")
    (files / "there.json").write_text("kept")
    for arguments, cause in [
        (("short.nii.gz", "full.nii.gz", "--json", "f.json"), "not on one grid"),
        (("none.nii.gz", "full.nii.gz", "--json", "f.json"), "none.nii.gz"),
        (("low.nii.gz", "full.nii.gz", "--json", "there.json"), "exists already"),
        (("low.nii.gz", "full.nii.gz", "--lesions", "none.dcm", "--json", "f.json"), "none.dcm"),
    ]:
        full = [files / a if "." in a else a for a in arguments]
        code, out, _ = run(capsys, *full)
        assert code == 2, arguments
        assert cause in out
        assert len(out.strip().splitlines()) == 1
        assert not (files / "f.json").exists()
    assert (files / "there.json").read_text() == "kept"
