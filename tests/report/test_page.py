"""The page of a scan: what is embedded is what was given, and nothing else is."""

import base64
import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.report.embed import Layer, decode, encode, plan_grid, reduced
from mapdiff.report.page import build_page, public_manifest, write_page
from mapdiff.volume import Acquisition, Volume
from synthetic import low_dose_volume

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
from small_series import IDENTITY, make_headers, save_headers

MANIFEST = {
    "note": "research use only",
    "input": {"path": "/home/jane/secret place/scan.nii.gz", "shape": [1, 2, 3], "unit": "SUV"},
    "noise_level": {"value": 0.2, "dose_on_the_training_scanners": 0.05, "convention": "NMAE"},
    "outputs": ["out.nii.gz"],
    "warnings": ["voxels < 1 mm in /home/jane/secret place/scan.nii.gz"],
}


def layer(key: str, volume: Volume) -> Layer:
    return Layer(key, key, lambda: volume)


def ras_volume(array: np.ndarray, spacing=(4.0, 4.0, 4.0)) -> Volume:
    return Volume(array.astype(np.float32), np.diag([*spacing, 1.0]), "SUV")


def embedded(page: str) -> tuple[dict, list[np.ndarray]]:
    """What a reader of the page finds: its facts and its volumes in the unit shown, shape (I, J, K)."""
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page, re.S).group(1))
    volumes = []
    for entry in facts["layers"]:
        text = re.search(rf'id="{entry["id"]}">(.*?)</script>', page, re.S).group(1)
        volumes.append(decode(text, tuple(facts["shape"])) * entry["step"])
    return facts, volumes


def body(seed: int = 0) -> Volume:
    return low_dose_volume(seed=seed)


def test_encoding_keeps_values_to_half_a_step():
    values = np.random.default_rng(0).normal(0, 3, (5, 6, 7)).astype(np.float32)
    assert np.abs(decode(encode(values, 0.005), (5, 6, 7)) * 0.005 - values).max() <= 0.00251


def test_blocks_are_means_and_sit_at_their_centres():
    rng = np.random.default_rng(1)
    array = np.zeros((40, 36, 44))
    array[8:32, 8:28, 6:38] = rng.uniform(2, 3, (24, 20, 32))
    volume = ras_volume(array, (2.0, 2.0, 2.0))
    grid = plan_grid(volume, 4000)
    assert grid.factors != (1, 1, 1) and np.prod(grid.shape) <= 4000
    small = reduced(volume, grid)
    assert small.shape == grid.shape
    first = tuple(slice(b.start, b.start + f) for b, f in zip(grid.box, grid.factors, strict=True))
    assert small[0, 0, 0] == pytest.approx(array[first].mean(), rel=1e-5)
    # The centre of the activity, in mm, is where it was.
    there = np.indices(array.shape).reshape(3, -1) @ array.ravel() / array.sum() * 2.0
    index = np.indices(small.shape).reshape(3, -1) @ small.ravel().astype(float) / small.sum()
    assert np.allclose(grid.affine[:3, :3] @ index + grid.affine[:3, 3], there, atol=0.05)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_the_page_is_ras_whatever_the_file_is(flips):
    array = np.zeros((20, 18, 16), np.float32)
    array[4:16, 4:14, 3:13] = 1
    array[5, 5, 4] = 50  # on RAS+ axes: left, back, low
    affine = np.diag([4.0 * f for f in flips] + [1.0])
    index = tuple(slice(None, None, f) for f in flips)
    page = build_page([layer("input", Volume(array[index], affine, "SUV"))], {})
    _, (values,) = embedded(page)
    hot = np.array(np.unravel_index(values.argmax(), values.shape))
    assert (hot < np.array(values.shape) / 2).all()


def test_volumes_are_the_given_ones_in_suv():
    known = Acquisition(suv_per_bqml=1 / 5000)
    low, result = (Volume(5000 * body(s).array, body(s).affine, "Bq/mL", known) for s in (0, 1))
    facts, values = embedded(build_page([layer("input", low), layer("result", result)], MANIFEST))
    assert facts["unit"] == "SUV" and facts["top"] == 7
    grid = plan_grid(result, 10**9)
    for volume, found, entry in zip((low, result), values, facts["layers"], strict=True):
        assert np.abs(found - reduced(volume, grid) / 5000).max() <= 0.51 * entry["step"]


def test_unknown_unit_gets_a_stated_window():
    volume = Volume(1000 * body().array, body().affine, "unknown")
    facts, _ = embedded(build_page([layer("input", volume)], {}))
    assert facts["unit"] == "stored value" and facts["top"] > 100


def test_a_small_page_asks_for_nothing_from_elsewhere():
    page = build_page([layer("input", body()), layer("result", body(1))], MANIFEST, title="<b>scan</b>")
    head = page[: page.index('id="niivue-script"')]
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?!data:)[a-z/]", head)
    assert "{{" not in head and "<b>scan" not in page
    assert "default-src 'none'" in head
    assert "Research use only. Not a medical device." in page
    assert "Redistribution and use in source and binary forms" in page


def test_volumes_are_reduced_until_the_page_is_small_enough(monkeypatch):
    rng = np.random.default_rng(2)
    volume = ras_volume(rng.uniform(0, 20, (60, 50, 70)), (2.0, 2.0, 2.0))
    layers = [layer("input", volume), layer("1/10", volume), layer("result", volume)]
    rest = len(build_page([layer("input", ras_volume(np.ones((2, 2, 2))))], {}))
    monkeypatch.setattr("mapdiff.report.page.MOST_BYTES", rest + 300_000)
    monkeypatch.setattr("mapdiff.report.page.MOST_VOLUME_BYTES", 600_000)  # a first guess that is too large
    page = build_page(layers, {})
    assert rest + 50_000 < len(page.encode()) <= rest + 300_000
    assert "peaks read lower" in page


def test_the_manifest_loses_its_folders_and_nothing_else():
    shown = public_manifest(MANIFEST)
    assert shown["input"]["path"] == "scan.nii.gz"
    assert "jane" not in json.dumps(shown) and "secret" not in json.dumps(shown)
    kept = {"a": "1/10", "b": "Bq/mL", "c": "1.65 x 1.65 mm", "d": ["NMAE / level", 3, None]}
    assert public_manifest(kept) == kept
    assert "D:" not in json.dumps(public_manifest(["warning: D:\\scans\\jane\\a.nii is odd"]))
    page = build_page([layer("input", body())], MANIFEST)
    assert "jane" not in page[: page.index('id="volume-0"')]
    assert "/home/jane" in build_page([layer("input", body())], MANIFEST, keep_paths=True)


def test_identity_stays_out_unless_asked_for(tmp_path):
    from mapdiff.report.scan_page import identity_of

    scan = read(save_headers(make_headers(), tmp_path / "series"))
    page = build_page([layer("input", scan), layer("result", scan)], MANIFEST)
    # Base64 holds any three letters by chance: what it packs is searched instead.
    packed = re.findall(r'octet-stream" id="volume[^>]*>(.*?)</script>', page, re.S)
    readable = re.sub(r'(octet-stream" id="[^>]*>).*?</script>', "", page, flags=re.S)
    assert len(packed) == 2 and len(readable) < 100_000
    for word in IDENTITY:
        assert word.lower() not in readable.lower(), word
        for text in packed:
            assert len(word) < 5 or word.encode() not in gzip.decompress(base64.b64decode(text))
    told = build_page([layer("input", scan)], MANIFEST, identity=identity_of(scan))
    assert "DOE^JANE" in told and "MRN-4711" in told


def test_images_of_other_grids_or_units_are_refused():
    other = ras_volume(np.ones((5, 5, 5)))
    with pytest.raises(InputError, match="one grid"):
        build_page([layer("input", other), layer("result", ras_volume(np.ones((6, 5, 5))))], {})
    unknown = Volume(other.array, other.affine, "unknown")
    with pytest.raises(InputError, match="one unit"):
        build_page([layer("input", unknown), layer("result", other)], {})
    with pytest.raises(InputError, match="one image or more"):
        build_page([], {})


def test_write_page_replaces_nothing_unasked(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_page(path, [layer("input", body())], {})
    assert path.read_text() == "mine"
    write_page(path, [layer("input", body())], {}, overwrite=True)
    assert path.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme):
    """WCAG 2.1, AA: a contrast of 4.5 for text, 3 for lines of a plot."""
    from mapdiff.report.fragments import asset

    blocks = re.findall(r":root \{(.*?)\}", asset("page.css"), re.S)
    names: dict[str, str] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        names |= dict(re.findall(r"--([\w-]+): (#\w+);", block))

    def luminance(colour: str) -> float:
        code = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(code[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(names[a]), luminance(names[b])))
        return (high + 0.05) / (low + 0.05)

    for ink in ("ink", "soft", "accent"):
        assert contrast(ink, "ground") >= 4.5 and contrast(ink, "raised") >= 4.5, ink
    assert contrast("warn-ink", "warn-ground") >= 4.5
    for line in ("input", "stage", "reference", "line"):
        assert contrast(line, "ground") >= 3, line


def test_halving_keeps_the_mean_and_the_place():
    from mapdiff.report.embed import coarser, halved

    rng = np.random.default_rng(4)
    volume = ras_volume(rng.uniform(1, 2, (24, 20, 32)), (2.0, 3.0, 2.5))
    grid = plan_grid(volume, 10**9)
    values = reduced(volume, grid)
    small_grid, axis = coarser(grid)
    assert axis == 0 and small_grid.shape == (grid.shape[0] // 2, *grid.shape[1:])
    assert np.allclose(halved(values, axis), reduced(volume, small_grid), atol=1e-6)
    first, second = (np.array([n, 0, 0, 1.0]) for n in (0, 1))
    middle = (grid.affine @ first + grid.affine @ second) / 2
    assert np.allclose(small_grid.affine @ first, middle)
