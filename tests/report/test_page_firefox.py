"""The page in headless Firefox, driven over WebDriver BiDi: no driver is needed but Firefox itself."""

import base64
import itertools
import json
import shutil
import subprocess
import time

import numpy as np
import pytest
from test_page import embedded
from test_page_browser import layers

from mapdiff.report.page import write_page

pytestmark = pytest.mark.slow


class Firefox:
    """A session over a web socket: `run(script)` gives the value of an expression on the page."""

    def __init__(self, socket):
        self.socket, self.numbers = socket, itertools.count(1)
        self.errors, self.asked = [], []
        self.ask("session.new", capabilities={})
        self.ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self.context = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self.socket.recv())
            if told.get("id") == number:
                assert told["type"] == "success", told
                return told["result"]
            if told.get("method") == "log.entryAdded" and told["params"]["level"] == "error":
                self.errors.append(told["params"]["text"])
            if told.get("method") == "network.beforeRequestSent":
                self.asked.append(told["params"]["request"]["url"])

    def run(self, script):
        target = {"context": self.context}
        told = self.ask("script.evaluate", expression=script, target=target, awaitPromise=True)
        assert told["type"] == "success", told
        return told["result"].get("value")


@pytest.fixture
def firefox(tmp_path):
    websocket = pytest.importorskip("websocket", reason="websocket-client (of selenium) is not installed")
    program = shutil.which("firefox") or shutil.which("firefox-esr")
    if not program:
        pytest.skip("Firefox is not installed")
    call = [program, "--headless", "--no-remote", "--profile", str(tmp_path), "--remote-debugging-port", "0"]
    with subprocess.Popen(call, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stderr:
                if "WebDriver BiDi listening on" in line:
                    break
            address = line.split("listening on ")[1].strip()
            socket = websocket.create_connection(f"{address}/session", timeout=120, suppress_origin=True)
            yield Firefox(socket)
            socket.close()
        finally:
            process.terminate()
            process.wait(30)


def test_it_opens_and_reads_what_is_embedded(firefox, tmp_path):
    page = tmp_path / "page.html"
    write_page(page, layers(), {"warnings": []}, title="a test")
    _, volumes = embedded(page.read_text())
    firefox.ask("browsingContext.navigate", context=firefox.context, url=page.as_uri(), wait="complete")
    end = time.monotonic() + 90
    while firefox.run("document.documentElement.dataset.ready") != "yes":
        assert time.monotonic() < end and not firefox.errors, firefox.errors
        time.sleep(0.2)
    for stage in (4, 1, 0):
        firefox.run(
            f"const e{stage} = document.getElementById('stage'); e{stage}.value = {stage};"
            f"e{stage}.dispatchEvent(new Event('input')); 1"
        )
        at = tuple(map(int, firefox.run("document.getElementById('readout').dataset.voxel").split()))
        for name, expected in (("input", volumes[0][at]), ("stage", volumes[stage][at])):
            shown, unit = firefox.run(f"document.getElementById('value-{name}').textContent").split()
            assert unit == "SUV" and float(shown) == pytest.approx(expected, abs=0.00501)
    dark = firefox.run(
        "const c = document.getElementById('mip-coronal');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "d.filter((v, n) => n % 4 === 0 && v < 100).length / d.length * 4"
    )
    assert 0.01 < dark < 0.9
    assert firefox.errors == []
    assert not [url for url in firefox.asked if not url.startswith(("file:", "data:", "blob:", "about:"))]
    shot = firefox.ask("browsingContext.captureScreenshot", context=firefox.context)["data"]
    assert np.frombuffer(base64.b64decode(shot), np.uint8).size > 10_000
