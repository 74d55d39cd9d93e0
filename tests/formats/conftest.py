from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from small_series import SHARED, make_headers, save_headers


@pytest.fixture
def shared() -> Path:
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"the shared data is not there: {data}")
    return data


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., Path]:
    """`series(edit)` writes the small series into a new folder, each header after `edit(header, k)`."""
    count = 0

    def make(edit: Callable[[Dataset, int], object] | None = None, ending: str = ".dcm", **size: int) -> Path:
        nonlocal count
        count += 1
        headers = make_headers(**size)
        for k, header in enumerate(headers):
            if edit is not None:
                edit(header, k)
        return save_headers(headers, tmp_path / f"series{count}", ending)

    return make
