"""The page in headless Chromium: it opens from a file, is steered, and reads what is embedded."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest
from driving import opened, quiet_and_offline, resize, saved, wait
from test_page import embedded

from mapdiff.report.embed import Layer
from mapdiff.report.page import write_page
from mapdiff.volume import Volume

pytestmark = pytest.mark.slow


def layers() -> list[Layer]:
    """A body with a hot spot on the patient's right, low and at the back; noisier the lower the dose."""
    rng = np.random.default_rng(3)
    body = np.zeros((30, 22, 40))
    body[5:25, 4:18, 4:36] = 2.0
    body[20:23, 6:9, 8:12] = 12.0
    made = []
    for key, noise in (("input", 1.0), ("1/10", 0.6), ("1/4", 0.4), ("1/2", 0.2), ("result", 0.1)):
        array = (body + noise * rng.normal(size=body.shape) * (body > 0)).astype(np.float32)
        volume = Volume(array, np.diag([8.0, 8.0, 10.0, 1.0]), "SUV")
        made.append(Layer(key, key if key in ("input", "result") else f"stage {key}", lambda v=volume: v))
    spread = Volume((0.1 * body).astype(np.float32), np.diag([8.0, 8.0, 10.0, 1.0]), "SUV")
    truth = Volume(body.astype(np.float32), np.diag([8.0, 8.0, 10.0, 1.0]), "SUV")
    made.append(Layer("reference", "reference", lambda: truth))
    return [*made, Layer("deviation", "standard deviation", lambda: spread)]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, layers(), {"warnings": []}, title="a test")
    return path


def text(browser, name: str) -> str:
    return browser.execute_script(f"return document.getElementById('{name}').textContent")


def voxel(browser) -> tuple[int, ...]:
    told = browser.execute_script("return document.getElementById('readout').dataset.voxel")
    return tuple(int(n) for n in told.split())


def read_equals_embedded(browser, volumes, stage: int) -> None:
    at = voxel(browser)
    for name, expected in (
        ("value-input", volumes[0][at]),
        ("value-stage", volumes[stage][at]),
        ("value-difference", volumes[stage][at] - volumes[0][at]),
        ("value-reference", volumes[5][at]),
        ("value-to-reference", volumes[stage][at] - volumes[5][at]),
        ("value-deviation", volumes[6][at]),
    ):
        shown, unit = text(browser, name).split()
        assert unit == "SUV" and float(shown) == pytest.approx(expected, abs=0.00501), (name, at)


def set_range(browser, selector: str, value: int) -> None:
    browser.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}));",
        selector,
        value,
    )


def test_steered_by_sliders_wheel_keys_and_mouse(browser, page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    _, volumes = embedded(page.read_text())
    opened(browser, page)
    assert text(browser, "stage-name") == "result"
    read_equals_embedded(browser, volumes, 4)
    for stage in (0, 1, 5, 3):
        set_range(browser, "#stage", stage)
        read_equals_embedded(browser, volumes, stage)
    before = voxel(browser)
    axial = browser.find_element(By.ID, "axial")
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(axial), 0, 120).perform()
    assert voxel(browser) == (before[0], before[1], before[2] - 1)
    browser.find_element(By.ID, "stagebox").send_keys(Keys.ARROW_LEFT, Keys.PAGE_UP, "]")
    assert voxel(browser) == (before[0] + 1, before[1] + 1, before[2] - 1)
    assert text(browser, "stage-name") == "result"
    read_equals_embedded(browser, volumes, 4)
    # A click at the left of the axial slice goes to the patient's right, marked R: the large i.
    box = axial.rect
    ActionChains(browser).move_to_element_with_offset(axial, -round(box["width"] / 4), 0).click().perform()
    assert voxel(browser)[0] > 0.65 * volumes[0].shape[0]
    read_equals_embedded(browser, volumes, 4)
    quiet_and_offline(browser)


def test_the_hot_spot_on_the_right_is_drawn_on_the_side_marked_r(browser, page):
    opened(browser, page)
    x, y, width, height = browser.execute_script(
        "const c = document.getElementById('mip-coronal'), d = c.getContext('2d').getImageData(0, 0, c.width,"
        " c.height).data; let n = 0, a = 0, b = 0; for (let p = 0; p < d.length; p += 4) if (d[p] < 5 &&"
        " d[p + 1] < 5 && d[p + 2] < 5) { n++; a += (p / 4) % c.width; b += Math.floor(p / 4 / c.width); }"
        "return [a / n, b / n, c.width, c.height];"
    )
    assert x < 0.4 * width and y > 0.6 * height
    assert browser.execute_script("return VIEWS.coronal.marks.join('')") == "RLHF"


@pytest.mark.parametrize("slices", [40, 6])
def test_nothing_is_cut_off_at_390_and_1280(browser, page, slices, tmp_path):
    if slices < 40:  # a few slices only
        page = tmp_path / "flat.html"
        volume = layers()[4].load()
        flat = Volume(volume.array[:, :, 10 : 10 + slices], volume.affine, "unknown")
        write_page(page, [Layer("result", "result", lambda: flat)], {})
    opened(browser, page)
    for width, height in ((390, 844), (1280, 800)):
        resize(browser, width, height)
        time.sleep(1.5)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        last = (
            "Math.max(...[...document.querySelectorAll('.view, #panel, #panel *')]"
            ".map(c => c.getBoundingClientRect().right))"
        )
        assert browser.execute_script(f"return {last}") <= width


def test_niivue_draws_the_planes_and_moves_the_same_cross_hair(browser, page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    _, volumes = embedded(page.read_text())
    opened(browser, page)
    browser.set_script_timeout(120)
    if not browser.execute_script("return !!document.createElement('canvas').getContext('webgl2')"):
        pytest.skip("this Chromium has no WebGL 2")
    browser.execute_script(
        "const v = document.getElementById('viewer'); v.value = 'niivue';"
        "v.dispatchEvent(new Event('change'));"
    )
    wait(
        browser,
        "document.documentElement.dataset.viewer === 'niivue' || document.getElementById('viewer').title",
    )
    assert browser.execute_script("return document.getElementById('viewer').title") == ""
    time.sleep(2)
    canvas = browser.find_element(By.ID, "niivue-planes")
    # Half way into the axial tile's left half, which is the top right of NiiVue's canvas.
    left, top, width, height = (
        float(browser.execute_script(f"return parseFloat(document.getElementById('axial').style.{name})"))
        for name in ("left", "top", "width", "height")
    )
    across = left + width / 4 - canvas.rect["width"] / 2
    down = top + height / 2 - canvas.rect["height"] / 2
    before = voxel(browser)
    ActionChains(browser).move_to_element_with_offset(canvas, round(across), round(down)).click().perform()
    wait(browser, f"document.getElementById('readout').dataset.voxel !== '{' '.join(map(str, before))}'", 30)
    at = voxel(browser)
    assert at[2] == before[2]
    assert at[0] == pytest.approx(0.75 * volumes[0].shape[0] - 0.5, abs=1.1)
    read_equals_embedded(browser, volumes, 4)
    set_range(browser, "#stage", 0)
    read_equals_embedded(browser, volumes, 0)
    quiet_and_offline(browser)


def test_what_is_saved_is_what_is_embedded(browser, page):
    import matplotlib.image

    facts, volumes = embedded(page.read_text())
    opened(browser, page)
    set_range(browser, "#stage", 1)
    i, j, _ = voxel(browser)
    browser.execute_script(
        "const e = document.getElementById('along'); e.value = 2; e.dispatchEvent(new Event('change'))"
    )
    rows = list(csv.reader(saved(browser, "save-profile", ".csv").open()))
    assert rows[0] == ["mm", "input (SUV)", "stage 1/10 (SUV)", "reference (SUV)"]
    found = np.array(rows[1:], float)
    assert found[:, 0] == pytest.approx((np.arange(len(found)) + 0.5) * facts["spacing"][2], abs=0.006)
    for column, volume in ((1, volumes[0]), (2, volumes[1]), (3, volumes[5])):
        assert found[:, column] == pytest.approx(volume[i, j], abs=1e-4)
    table = list(csv.reader(saved(browser, "save-figures", ".csv").open()))
    assert [row[0] for row in table] == [
        "Image",
        "input",
        "stage 1/10",
        "stage 1/4",
        "stage 1/2",
        "result",
        "reference",
    ]
    assert "PSNR, dB" in table[0]
    picture = matplotlib.image.imread(saved(browser, "save-picture", ".png"))
    assert min(picture.shape[:2]) > 300 and 0.02 < (picture[..., :3].mean(axis=2) < 0.6).mean() < 0.9
    quiet_and_offline(browser)


def test_turning_agrees_with_the_still_projections(browser, page):
    opened(browser, page)
    front, back, side = browser.execute_script(
        "const f = JSON.parse(document.getElementById('facts').textContent), [I, J, K] = f.shape;"
        "const at = (n) => (n * 7919) % 1009;"
        "const still = [...projectionOf(at, f.shape, VIEWS.coronal, false).values];"
        "const turned = (d) => [...turnedProjection(at, f.shape, f.spacing, d)];"
        "const flip = (v) => v.map((_, n) => v[n - (n % I) + I - 1 - (n % I)]);"
        "const same = (a, b) => a.filter((v, n) => v === b[n]).length / a.length;"
        "const nose = [...projectionOf(at, f.shape, VIEWS.sagittal, false).values];"
        "const s = turned(90), gap = (I - J) / 2;"
        "const part = nose.map((_, n) => s[Math.floor(n / J) * I + gap + (n % J)]);"
        "return [same(still, turned(0)), same(flip(still), turned(180)), same(nose, part)];"
    )
    assert front > 0.99 and back > 0.99  # 180 degrees may meet a border of voxels by rounding
    assert side > 0.99  # seen from the patient's left, as the sagittal view: the nose on the left
    stagebox = browser.find_element("id", "stagebox")
    stagebox.send_keys("t")
    wait(browser, "document.getElementById('turn').textContent === 'stop'", 10)
    stagebox.send_keys("t")
    wait(browser, "document.getElementById('turn').textContent === 'turn'", 10)
    quiet_and_offline(browser)


def test_every_control_is_reached_by_tab(browser, page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    seen = []
    for _ in range(40):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        seen.append(browser.execute_script("const e = document.activeElement; return e.id || e.className"))
    wanted = "stage show low high reset viewer smooth stagebox turn axis along"
    assert {*wanted.split(), "save-picture", "save-profile", "save-figures"} <= set(seen)


def test_printing_leaves_the_page_as_it_was(browser, page):
    opened(browser, page)
    shown = "return document.getElementById('coronal').style.width"
    before = browser.execute_script(shown)
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    assert len(paper["data"]) > 20_000
    wait(browser, f"(() => {{ {shown} }})() === '{before}'", 10)
    quiet_and_offline(browser)


def test_a_page_of_a_result_and_its_reference_alone(browser, tmp_path):
    some = [layer for layer in layers() if layer.key in ("result", "reference")]
    write_page(tmp_path / "two.html", some, {})
    opened(browser, tmp_path / "two.html")
    _, volumes = embedded((tmp_path / "two.html").read_text())
    at = voxel(browser)
    assert float(text(browser, "value-stage").split()[0]) == pytest.approx(volumes[0][at], abs=0.00501)
    options = browser.execute_script("return [...document.getElementById('show').options].map(o => o.value)")
    assert options == ["image", "reference"]
    assert browser.execute_script("return document.getElementById('value-input').hidden")
    quiet_and_offline(browser)
