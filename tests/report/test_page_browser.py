"""The page in headless Chromium: it opens from a file, is steered, and reads what is embedded."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from test_page import embedded

from mapdiff.report.embed import Layer
from mapdiff.report.page import write_page
from mapdiff.volume import Volume

pytestmark = pytest.mark.slow
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


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
    return [*made, Layer("deviation", "standard deviation", lambda: spread)]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, layers(), {"warnings": []}, title="a test")
    return path


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,800"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


def wait(browser, script: str, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return {script}"):
        assert time.monotonic() < end, f"never came true: {script}"
        time.sleep(0.2)


def opened(browser, page: Path) -> None:
    browser.get(page.as_uri())
    wait(browser, "document.documentElement.dataset.ready || !document.getElementById('problem').hidden")
    assert not browser.execute_script("return document.getElementById('problem').textContent")


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
        ("value-deviation", volumes[-1][at]),
    ):
        shown, unit = text(browser, name).split()
        assert unit == "SUV" and float(shown) == pytest.approx(expected, abs=0.00501), (name, at)


def quiet_and_offline(browser) -> None:
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "ERROR")] == []
    asked = []
    for line in browser.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert any(url.startswith("file:") for url in asked)  # the log does see requests
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "chrome:"))]
    assert len([url for url in asked if url.startswith("file:")]) == 1


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
    for stage in (0, 1, 3):
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


def test_nothing_is_cut_off_at_390_and_1280(browser, page):
    opened(browser, page)
    for width, height in ((390, 844), (1280, 800)):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(1.5)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        last = (
            "Math.max(...[...document.querySelectorAll('.view')].map(c => c.getBoundingClientRect().right))"
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
