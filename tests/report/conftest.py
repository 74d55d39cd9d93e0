"""Headless Chromium for the tests of the pages."""

import shutil

import pytest

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
    "--window-size=1280,800",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for a module: it takes seconds to start."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver is not installed")
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    made.downloads = folder / "downloads"
    made.downloads.mkdir()
    places = {"behavior": "allow", "downloadPath": str(made.downloads)}
    made.execute_cdp_cmd("Browser.setDownloadBehavior", places)
    yield made
    made.quit()


@pytest.fixture(scope="session")
def smoothed_cohort(tmp_path_factory, tiny_cohort):
    """Folders `low` (1/20 and 1/50 of the cohort's subjects) and `smoothed` (those, filtered)."""
    import shutil

    from scipy.ndimage import gaussian_filter

    import mapdiff

    root = tmp_path_factory.mktemp("smoothed")
    for path in sorted(tiny_cohort.glob("sub-*/pet/*_rec-drf[25]0_pet.nii.gz")):
        (root / "low").mkdir(exist_ok=True)
        (root / "smoothed").mkdir(exist_ok=True)
        for name in (path.name, path.name.replace(".nii.gz", ".json")):
            shutil.copy(path.with_name(name), root / "low")
        low = mapdiff.read(path)
        mapdiff.write(low.with_array(gaussian_filter(low.array, 0.7)), root / "smoothed" / path.name)
    return root
