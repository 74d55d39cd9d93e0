"""The picture of stages: what is on it, and that it is the right way round."""

import matplotlib.image
import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.report.figure import body_width, hot_centre, stages_figure, to_ras
from mapdiff.volume import Volume


@pytest.fixture
def body():
    """A body of even uptake with one hot spot high in the patient's right side, RAS+, 4 x 5 x 6 mm."""
    array = np.zeros((60, 40, 50), np.float32)
    array[15:45, 10:30, 3:47] = 1
    array[38:43, 18:22, 38:43] = 30
    return Volume(array, np.diag([4.0, 5.0, 6.0, 1.0]), "SUV")


def turned(volume, axes, flips):
    """The same scan stored with other axes."""
    affine, array = volume.affine.copy(), volume.array.transpose(axes)
    affine[:3, :3] = affine[:3, :3][:, axes]
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    return Volume(array, affine, volume.unit)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(), (0, 1), (2,), (0, 1, 2)])
def test_any_storage_order_comes_out_as_ras(body, axes, flips):
    stored = turned(body, axes, flips)
    array, spacing = to_ras(stored.array, stored.affine)
    assert spacing == pytest.approx((4, 5, 6))
    assert (array == body.array).all()


def test_picture_has_the_patients_right_on_the_left_and_the_head_up(tmp_path, body):
    pictures = []
    for name, stored in {
        "ras": body,
        "lps": turned(body, (0, 1, 2), (0, 1)),
        "kji": turned(body, (2, 1, 0), (1,)),
    }.items():
        stages_figure([("scan", stored)], tmp_path / f"{name}.png")
        pictures.append(matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3])
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()
    grey = pictures[0].mean(axis=2)
    # Axes and colour bar are lines; the hot spot is the only black block of some size beside the bar.
    rows, columns = grey.shape
    left, right = grey[:, : columns // 3], grey[:, columns // 3 : int(columns * 0.7)]
    block = np.lib.stride_tricks.sliding_window_view(left < 0.02, (9, 9)).all(axis=(2, 3))
    assert block.any()
    assert not np.lib.stride_tricks.sliding_window_view(right < 0.02, (9, 9)).all(axis=(2, 3)).any()
    assert np.argwhere(block)[:, 0].min() < 0.25 * rows  # in the slice, high up
    assert np.argwhere(block)[:, 0].max() > 0.5 * rows  # and in the projection


def test_one_window_for_all_and_its_unit(tmp_path, body):
    """A brighter copy of the same scan is drawn darker, so no image is scaled to itself."""
    faint = body.with_array(body.array * 0.5)
    stages_figure([("faint", faint), ("scan", body)], tmp_path / "two.png", vmax_suv=2)
    grey = matplotlib.image.imread(tmp_path / "two.png")[..., :3].mean(axis=2)
    row = grey[int(grey.shape[0] * 0.35)]
    middle = len(row) // 2
    faint_grey, grey_level = np.median(row[:middle]), np.median(row[middle : int(len(row) * 0.85)])
    assert faint_grey > grey_level + 0.1


def test_slice_goes_through_the_body_not_the_bladder(body):
    array = body.array.copy()
    array[25:35, 10:14, 5:15] = 500
    assert abs(hot_centre(array, 7.0) - hot_centre(body.array, 7.0)) <= 3
    seen = body_width(body.array, (4, 5, 6))
    assert seen.start <= 15 - 5
    assert seen.stop >= 45 + 5
    assert body_width(np.zeros((9, 9, 9)), (4, 4, 4)) == slice(0, 9)


def test_images_of_other_units_grids_and_none(tmp_path, body):
    path = tmp_path / "no.png"
    with pytest.raises(InputError, match="one image or more"):
        stages_figure([], path)
    short = Volume(body.array[:, :, :-3], body.affine, "SUV")
    with pytest.raises(InputError, match="one grid"):
        stages_figure([("a", short), ("b", body)], path)
    with pytest.raises(InputError, match="different units"):
        stages_figure([("a", Volume(body.array, body.affine, "Bq/mL")), ("b", body)], path)
    assert not path.exists()
    stored = Volume(body.array, body.affine)
    stages_figure([("a", stored)], path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["no.png"]
