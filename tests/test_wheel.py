"""The wheel builds and works when it is installed outside the tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_wheel_works_outside_the_tree(tmp_path: Path) -> None:
    def run(*command: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("mapdiff-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "mapdiff/weights/map-diff.safetensors" in names
    assert not any(name.startswith("tests/") for name in names)
    installed = tmp_path / "installed"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(wheel))
    code = "import mapdiff; print(mapdiff.__file__); print(mapdiff.Denoiser.from_pretrained().hash)"
    place, model_hash = run("-c", code, PYTHONPATH=str(installed)).split()
    assert Path(place).is_relative_to(installed)
    assert len(model_hash) == 64
    assert "Research use only" in run("-m", "mapdiff", "--help", PYTHONPATH=str(installed))
