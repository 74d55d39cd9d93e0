"""Driving a page in the browser of conftest.py."""

import contextlib
import json
import time
from pathlib import Path


def wait(browser, script: str, seconds: float = 90.0) -> None:
    """Until the script's value is true."""
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return {script}"):
        assert time.monotonic() < end, f"never came true: {script}"
        time.sleep(0.1)


def opened(browser, page: Path) -> None:
    """Open a page from its file; the logs begin with it."""
    resize(browser, 1280, 800)
    for name in ("browser", "performance"):
        browser.get_log(name)
    browser.get(page.as_uri())
    wait(
        browser,
        "document.documentElement.dataset.ready || document.getElementById('problem')?.hidden === false",
    )
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"


def resize(browser, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def quiet_and_offline(browser) -> None:
    """No error on the console since the page was opened, and nothing asked for but the one file."""
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "ERROR")] == []
    asked = []
    for line in browser.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert any(url.startswith("file:") for url in asked)  # the log does see requests
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "chrome:"))]
    assert len([url for url in asked if url.startswith("file:")]) == 1


def saved(browser, button: str, ending: str, seconds: float = 30.0) -> Path:
    """Press a button that saves a file; the file."""
    before = set(browser.downloads.iterdir())
    browser.execute_script("document.getElementById(arguments[0]).click()", button)
    end = time.monotonic() + seconds
    while True:
        # A browser reserves the name with an empty file, and moves the whole one there at the end.
        for path in set(browser.downloads.iterdir()) - before:
            with contextlib.suppress(FileNotFoundError):
                if path.name.endswith(ending) and path.stat().st_size:
                    return path
        assert time.monotonic() < end, f"{button} saved nothing"
        time.sleep(0.1)
