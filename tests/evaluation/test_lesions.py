"""Lesions: contours, SEG and NIfTI masks onto a grid, and what is measured in them."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from mapdiff.errors import InputError
from mapdiff.evaluation.compare import compare
from mapdiff.evaluation.contours import polygon, rasterise
from mapdiff.evaluation.lesion_files import RTSTRUCT_CLASS, SEG_CLASS, read_lesions
from mapdiff.evaluation.lesions import lesion_figures, measure
from mapdiff.evaluation.masks import aligned, cut, from_labels, pull, same_grid
from mapdiff.volume import Volume

SHARED = Path(os.environ.get("MAPDIFF_SHARED", Path(__file__).resolve().parents[2] / ".." / "shared"))
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def shared(name):
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"the shared data is not there: {path}")
    return path


def scan(shape=(20, 24, 16), affine=None, value=1.0):
    affine = np.diag([-2.0, -2.0, 3.0, 1.0]) if affine is None else affine
    return Volume(np.full(shape, value, np.float32), np.asarray(affine, float), "SUV")


def square(low, high, plane, axis=2):
    """A square contour in voxel coordinates, in the plane of index `axis`."""
    corners = [(low, low), (low, high), (high, high), (high, low)]
    return np.array([[*c[:axis], plane, *c[axis:]] for c in corners], float)


def write_dicom(path, dataset, kind, modality):
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = kind, generate_uid(), modality
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_rtstruct(path, rois, affine):
    """`rois`: name to contours in voxel coordinates."""
    dataset = Dataset()
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            world = points @ (LPS @ affine)[:3, :3].T + (LPS @ affine)[:3, 3]
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.4f}" for value in world.ravel()]
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    return write_dicom(path, dataset, RTSTRUCT_CLASS, "RTSTRUCT")


def write_seg(path, segments, affine, kind="BINARY", maximum=255):
    """`segments`: name to mask (I, J, K); empty frames are left out, as writers do."""
    dataset, frames = Dataset(), []
    dataset.SegmentSequence, dataset.PerFrameFunctionalGroupsSequence = [], []
    world = LPS @ affine
    lengths = np.linalg.norm(world[:3, :3], axis=0)
    for number, (name, mask) in enumerate(segments.items(), start=1):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        dataset.SegmentSequence.append(segment)
        for k in np.flatnonzero(mask.any(axis=(0, 1))):
            frame, identity, place = Dataset(), Dataset(), Dataset()
            identity.ReferencedSegmentNumber = number
            place.ImagePositionPatient = [f"{v:.4f}" for v in world[:3, 2] * k + world[:3, 3]]
            frame.SegmentIdentificationSequence, frame.PlanePositionSequence = [identity], [place]
            dataset.PerFrameFunctionalGroupsSequence.append(frame)
            frames.append(mask[:, :, k].T)
    shared_groups, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices = [lengths[1], lengths[0]], lengths[2]
    orientation.ImageOrientationPatient = [*(world[:3, 0] / lengths[0]), *(world[:3, 1] / lengths[1])]
    shared_groups.PixelMeasuresSequence = [measures]
    shared_groups.PlaneOrientationSequence = [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared_groups]
    stack = np.array(frames)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stack.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelRepresentation, dataset.SegmentationType = 0, kind
    if kind == "BINARY":
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        packed = np.packbits(stack.ravel().astype(np.uint8), bitorder="little").tobytes()
    else:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.MaximumFractionalValue = 7, maximum
        packed = stack.astype(np.uint8).tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    return write_dicom(path, dataset, SEG_CLASS, "SEG")


# The real contours ------------------------------------------------------------------------------------


def test_real_rtstruct_is_the_independent_mask():
    folder = shared("real_pet_sts001")
    slices = sorted(
        (pydicom.dcmread(p, stop_before_pixels=True) for p in (folder / "dicom").glob("*.dcm")),
        key=lambda s: s.ImagePositionPatient[2],
    )
    first, last = slices[0].ImagePositionPatient, slices[-1].ImagePositionPatient
    step = (last[2] - first[2]) / (len(slices) - 1)
    row, column = slices[0].PixelSpacing
    affine = LPS @ np.array(
        [[column, 0, 0, first[0]], [0, row, 0, first[1]], [0, 0, step, first[2]], [0, 0, 0, 1]]
    )
    grid = scan((128, 128, len(slices)), affine)
    found = read_lesions(folder / "rtstruct" / "1-1.dcm", grid)
    assert [lesion.name for lesion in found.lesions] == ["GTV_Mass", "GTV_Edema"]
    expected = np.zeros(grid.shape, bool)
    crop = np.asarray(nib.load(folder / "reference_mask_crop.nii.gz").dataobj) > 0
    expected[59:100, 45:88, :59] = crop
    mask = found.full("GTV_Mass")
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.99
    assert expected.sum() > 5000
    by_nifti = read_lesions(folder / "reference_mask_crop.nii.gz", grid)
    assert (by_nifti.full("lesion 1") == expected).all()
    assert by_nifti.notes == ()


# Contours ---------------------------------------------------------------------------------------------


def test_polygon_is_the_even_odd_rule():
    inside = polygon(np.array([[1.5, 2.5], [1.5, 6.5], [4.5, 6.5], [4.5, 2.5]]), (8, 9))
    assert inside.sum() == 3 * 4
    assert inside[2:5, 3:7].all()
    on_centres = [
        polygon(np.array(c), (6, 6))
        for c in ([[1, 1], [1, 3], [3, 3], [3, 1.0]], [[1, 3], [1, 5], [3, 5], [3, 3.0]])
    ]
    assert [half.sum() for half in on_centres] == [4, 4]  # a voxel on the border of two belongs to one
    assert not (on_centres[0] & on_centres[1]).any()
    bow_tie = polygon(np.array([[0, 0], [10, 10], [10, 0], [0, 10.0]]), (11, 11))
    assert bow_tie[2, 5]
    assert not bow_tie[5, 2]
    beyond = polygon(np.array([[-9, -9], [-9, 99], [99, 99], [99, -9.0]]), (5, 6))
    assert beyond.all()


def test_disc_has_its_area():
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    disc = polygon(np.stack([50 + 30.3 * np.cos(angles), 50 + 30.3 * np.sin(angles)], 1), (100, 100))
    assert disc.sum() == pytest.approx(np.pi * 30.3**2, rel=0.01)


def test_holes_and_islands_by_xor():
    contours = [square(1.5, 12.5, 3), square(4.5, 8.5, 3), square(5.5, 6.5, 3), square(14.5, 16.5, 3)]
    mask = rasterise(contours, (20, 20, 5))
    assert not mask[:, :, [0, 1, 2, 4]].any()
    assert mask.sum() == 11**2 - 4**2 + 1 + 2**2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_contours_along_any_axis(axis):
    mask = rasterise([square(2.5, 7.5, plane, axis) for plane in (4, 5)], (12, 12, 12))
    assert mask.sum() == 2 * 5**2
    assert np.moveaxis(mask, axis, 0)[4:6].sum() == mask.sum()


def test_contours_on_coarser_slices_fill_those_between_but_not_a_gap():
    contours = [square(2.5, 7.5, plane) for plane in (2.0, 4.0, 6.0, 14.0, 16.0)]
    filled = rasterise(contours, (12, 12, 20)).any(axis=(0, 1))
    assert np.flatnonzero(filled).tolist() == [*range(1, 7), *range(13, 17)]


@pytest.mark.parametrize("gap", [1, 2, 3, 4])
@pytest.mark.parametrize("offset", [0.0, 0.5, 0.004, -0.004, 0.496])
def test_contours_fill_as_many_slices_as_they_are_thick(gap, offset):
    """Half way between two contours a slice belongs to one of them, at the ends too: the volume is kept."""
    planes = 10 + offset + gap * np.arange(4)
    mask = rasterise([square(2.5, 7.5, plane) for plane in planes], (12, 12, 40))
    assert mask.sum() == 25 * 4 * gap


def test_jittered_planes_fall_on_their_slices():
    planes = np.arange(3, 12) + np.random.default_rng(0).uniform(-0.3, 0.3, 9)
    filled = rasterise([square(2.5, 7.5, plane) for plane in planes], (12, 12, 20)).any(axis=(0, 1))
    assert np.flatnonzero(filled).tolist() == list(range(3, 12))


def test_two_contours_of_one_slice_are_both_kept_where_rounding_parts_them():
    """Positions on either side of a hundredth; CT planes a tenth of a slice apart stay apart."""
    mask = rasterise([square(1.5, 4.5, 5.004), square(6.5, 10.5, 5.006)], (12, 12, 12))
    assert mask[:, :, 5].sum() == 3**2 + 4**2 == mask.sum()
    fine = rasterise([square(2.5, 7.5, 5 + 0.1 * n) for n in range(-4, 5)], (12, 12, 12))
    assert fine[:, :, 5].sum() == 5**2 == fine.sum()


def test_oblique_contours_are_refused():
    tilted = square(2.5, 7.5, 3)
    tilted[0, 2] += 2
    with pytest.raises(InputError, match=r"Tumour.*not parallel"):
        rasterise([tilted], (12, 12, 12), "Tumour")


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([-2.0, -2.0, 3.0, 1.0]),
        np.array([[0, 0, 3.0, -40], [-2.0, 0, 0, 55], [0, -2.0, 0, 7], [0, 0, 0, 1]]),
        np.diag([2.0, 2.5, -3.0, 1.0]),
    ],
)
def test_rtstruct_and_seg_give_one_mask_in_any_orientation(tmp_path, affine):
    grid = scan(affine=affine)
    contours = [square(3.5, 9.5, k) for k in (5, 6, 7)]
    expected = np.zeros(grid.shape, bool)
    expected[4:10, 4:10, 5:8] = True
    rt = read_lesions(write_rtstruct(tmp_path / "rt.dcm", {"T": contours}, affine), grid)
    assert (rt.full("T") == expected).all()
    seg = read_lesions(write_seg(tmp_path / "seg.dcm", {"T": expected}, affine), grid)
    assert (seg.full("T") == expected).all()
    assert seg.notes == rt.notes == ()


def test_seg_with_gaps_overlap_and_fractions(tmp_path):
    grid = scan()
    a, b = np.zeros((2, *grid.shape), bool)
    a[2:6, 3:9, 4], a[2:6, 3:9, 9] = True, True
    b[4:8, 3:9, 3:6] = True
    found = read_lesions(write_seg(tmp_path / "s.dcm", {"A": a, "B": b}, grid.affine), grid)
    assert (found.full("A") == a).all()
    assert (found.full("B") == b).all()
    part = np.zeros(grid.shape)
    part[2:6, 3:9, 4], part[6:9, 3:9, 4] = 90, 40
    path = write_seg(tmp_path / "f.dcm", {"A": part}, grid.affine, kind="FRACTIONAL", maximum=100)
    assert (read_lesions(path, grid).full("A") == (part == 90)).all()


@pytest.mark.parametrize("thickness", [1.0, 2.5, 3.0, 5.0])
def test_a_segs_slices_lie_as_far_apart_as_its_frames_not_as_they_are_thick(tmp_path, thickness):
    grid = scan()
    thick, thin = np.zeros((2, *grid.shape), bool)
    thick[4:8, 3:9, 3:6], thin[2:6, 3:9, 9] = True, True
    path = write_seg(tmp_path / "s.dcm", {"A": thick, "B": thin}, grid.affine)
    dataset = pydicom.dcmread(path)
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    measures.SliceThickness = thickness
    dataset.save_as(path)
    found = read_lesions(path, grid)
    assert (found.full("A") == thick).all() and (found.full("B") == thin).all()
    # Two slices far apart, the empty ones between them left out: nothing but the thickness is told.
    thin[2:6, 3:9, 1] = True
    path = write_seg(tmp_path / "far.dcm", {"B": thin}, grid.affine)
    dataset = pydicom.dcmread(path)
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    measures.SliceThickness = grid.spacing[2]
    dataset.save_as(path)
    assert (read_lesions(path, grid).full("B") == thin).all()


def test_seg_on_another_grid_is_resampled_and_says_so(tmp_path):
    coarse = np.diag([-4.0, -4.0, 6.0, 1.0])
    coarse[:3, 3] = -1, -1, 1.5
    mask = np.zeros((10, 12, 8), bool)
    mask[2:4, 3:5, 2:4] = True
    found = read_lesions(write_seg(tmp_path / "s.dcm", {"A": mask}, coarse), scan())
    assert found.lesions[0].mask.sum() == mask.sum() * 8
    assert "resampled" in found.notes[0]


# NIfTI masks ------------------------------------------------------------------------------------------


def test_nifti_labels_and_pieces(tmp_path):
    grid = scan()
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:4, 2:4, 2:4], labels[10:13, 10:13, 9:12] = 1, 1
    nib.save(nib.Nifti1Image(labels, grid.affine), tmp_path / "pieces.nii.gz")
    pieces = read_lesions(tmp_path / "pieces.nii.gz", grid)
    assert sorted(lesion.mask.sum() for lesion in pieces.lesions) == [8, 27]
    labels[10:13, 10:13, 9:12], labels[15:17, 2:4, 2:4] = 4, 4
    nib.save(nib.Nifti1Image(labels, grid.affine), tmp_path / "labels.nii")
    found = read_lesions(tmp_path / "labels.nii", grid)
    assert [(lesion.name, lesion.mask.sum()) for lesion in found.lesions] == [("label 1", 8), ("label 4", 35)]


def test_what_of_a_mask_lies_beside_the_scan_is_left_out_and_said(tmp_path):
    """A mask of a longer field of view: the lesion beyond the scan is told, not an error."""
    grid, longer = scan(), scan((20, 24, 40))
    labels = np.zeros(longer.shape, np.uint8)
    labels[2:5, 3:5, 2:4], labels[2:5, 3:5, 30:33] = 1, 2
    nib.save(nib.Nifti1Image(labels, longer.affine), tmp_path / "longer.nii")
    found = read_lesions(tmp_path / "longer.nii", grid)
    assert [lesion.name for lesion in found.lesions] == ["label 1"]
    assert found.notes == ("label 2 has no voxel in the scan and is left out",)
    segments = {"here": labels == 1, "beyond": labels == 2}
    found = read_lesions(write_seg(tmp_path / "s.dcm", segments, longer.affine), grid)
    assert [lesion.name for lesion in found.lesions] == ["here"]
    assert found.notes == ("beyond has no voxel in the scan and is left out",)


def test_a_mask_without_orientation_lies_on_the_scans_voxels(tmp_path):
    """Not mirrored by the affine that a header without codes stands for."""
    grid = scan(affine=np.diag([4.0, 4.0, 4.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:5, 3:5, 2:4] = 1
    nib.save(nib.Nifti1Image(labels, None), tmp_path / "m.nii")
    found = read_lesions(tmp_path / "m.nii", grid)
    assert (found.full("lesion 1") == (labels > 0)).all()
    assert "tells no orientation" in found.notes[0]
    nib.save(nib.Nifti1Image(labels[:-1], None), tmp_path / "other.nii")
    with pytest.raises(InputError, match=r"tells no orientation .* another shape"):
        read_lesions(tmp_path / "other.nii", grid)


def test_a_lesion_called_as_a_region_does_not_take_its_place(tmp_path):
    contours = [square(3.5, 9.5, k) for k in (4, 5)]
    rois = {"body": contours, "volume": contours, "T": contours}
    image = scan()
    image.array[3:10, 3:10] = 4
    found = read_lesions(write_rtstruct(tmp_path / "r.dcm", rois, image.affine), image)
    assert [lesion.name for lesion in found.lesions] == ["body (2)", "volume (2)", "T"]
    regions = {figure.region for figure in compare(image, image, found)}
    assert regions == {"volume", "body", "body (2)", "volume (2)", "T"}


def test_flipped_mask_lies_where_it_belongs(tmp_path):
    grid = scan()
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:5, 3:5, 2:4] = 1
    turned = nib.as_closest_canonical(nib.Nifti1Image(labels, grid.affine))
    assert (np.asarray(turned.dataobj) != labels).any()
    nib.save(turned, tmp_path / "m.nii")
    found = read_lesions(tmp_path / "m.nii", grid)
    assert (found.full("lesion 1") == (labels > 0)).all()
    assert found.notes == ()


def test_pull_is_nearest_and_stays_inside():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 7, 8))
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    finer = np.diag([1.0, 1.5, 2.0, 1.0])
    finer[:3, 3] = -0.5, -0.75, -1.0  # two fine voxels lie in each coarse one
    out, offset = pull(labels, affine, (40, 40, 40), finer)
    whole = np.zeros((40, 40, 40), int)
    whole[tuple(slice(o, o + n) for o, n in zip(offset, out.shape, strict=True))] = out
    assert (whole[:12, :14, :16] == labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)).all()
    assert not whole[12:].any()
    assert not aligned(labels.shape, affine, finer)


def test_same_grid_tolerance():
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    shape = (200, 200, 300)
    near, far = affine.copy(), affine.copy()
    near[2, 3] += 0.1
    far[2, 2] *= 1.001  # a third of a voxel at the far end
    assert same_grid(shape, affine, shape, near)
    assert not same_grid(shape, affine, shape, far)
    assert not same_grid(shape, affine, (200, 200, 299), affine)


# Files that are no lesions ----------------------------------------------------------------------------


def test_what_holds_no_lesion_is_refused(tmp_path):
    grid = scan()
    nib.save(nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine), tmp_path / "empty.nii")
    (tmp_path / "text.dcm").write_text("no mask")
    (tmp_path / "text.nii").write_text("no mask")
    away = [square(3.5, 9.5, k) for k in (100, 101)]
    write_rtstruct(tmp_path / "away.dcm", {"T": away}, grid.affine)
    ones = np.ones(grid.shape, np.uint8)
    beside = grid.affine.copy()
    beside[:3, 3] = 1000, 0, 0
    nib.save(nib.Nifti1Image(ones, beside), tmp_path / "beside.nii")
    write_seg(tmp_path / "beside.dcm", {"T": ones > 0}, beside)
    singular = nib.Nifti1Image(ones, grid.affine)
    singular.set_qform(None, 0)
    header = bytearray(singular.to_bytes())
    header[280:296] = bytes(16)  # srow_x
    (tmp_path / "singular.nii").write_bytes(header)
    colours = np.zeros(grid.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, grid.affine), tmp_path / "colours.nii")
    image = np.random.default_rng(0).uniform(0, 9, grid.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(image, grid.affine), tmp_path / "image.nii")
    nib.save(nib.Nifti1Image(ones * np.float32(1e9), grid.affine), tmp_path / "huge.nii")
    for name, cause in [
        ("image.nii", "is no mask: its voxels are not whole numbers up to 65535"),
        ("huge.nii", "is no mask"),
        ("beside.nii", "no lesion inside the scan"),
        ("beside.dcm", "no lesion inside the scan"),
        ("singular.nii", "affine is singular"),
        ("colours.nii", "one number per voxel"),
        ("missing.nii", "is not there"),
        ("empty.nii", "no lesion"),
        ("text.dcm", "no RTSTRUCT"),
        ("text.nii", "cannot be read as NIfTI"),
        ("away.dcm", "T encloses no voxel"),
    ]:
        with pytest.raises(InputError, match=cause) as caught:
            read_lesions(tmp_path / name, grid)
        assert name in str(caught.value)


def test_a_pet_series_is_no_mask():
    path = next(shared("real_pet_sts001/dicom").glob("*.dcm"))
    with pytest.raises(InputError, match="is DICOM PT"):
        read_lesions(path, scan())


# Measuring --------------------------------------------------------------------------------------------


def test_uptake_by_hand():
    grid = scan()
    array = grid.array.copy()
    mask = np.zeros(grid.shape, bool)
    mask[5:7, 5, 5:7] = True
    array[5, 5, 5], array[6, 5, 5], array[5, 5, 6], array[6, 5, 6] = 10, 4.2, 4.0, 2
    uptake = measure(array, grid.affine, cut("T", mask))
    assert uptake.mean == pytest.approx(5.05)
    assert uptake.maximum == 10
    assert uptake.volume_ml == pytest.approx(4 * 12 / 1000)
    assert uptake.mtv_ml == pytest.approx(2 * 12 / 1000)
    assert uptake.tlg == pytest.approx(5.05 * 0.048)


def test_peak_is_a_millilitre_mean_even_at_the_volumes_edge():
    grid = scan((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]), value=3.0)
    mask = np.zeros(grid.shape, bool)
    mask[0:4, 0:4, 0:4] = True
    assert measure(grid.array, grid.affine, cut("T", mask)).peak == pytest.approx(3)
    array = np.zeros(grid.shape, np.float32)
    array[10, 10, 10] = 1000
    mask[10, 10, 10] = True
    peak = measure(array, grid.affine, cut("T", mask)).peak
    assert 1000 / peak == pytest.approx(1000 / 8, rel=0.05)  # voxels of 8 mm3 in 1 mL


def test_figures_of_a_prediction_ten_per_cent_low():
    reference = scan()
    rng = np.random.default_rng(0)
    reference = reference.with_array(rng.gamma(3, 1, reference.shape).astype(np.float32))
    prediction = reference.with_array(0.9 * reference.array)
    labels = np.zeros(reference.shape, int)
    labels[2:6, 2:6, 2:6], labels[10:12, 10:12, 10:12] = 1, 2
    from mapdiff.evaluation.masks import LesionMask

    lesions = LesionMask(reference.shape, reference.affine, tuple(from_labels(labels)))
    figures = {(f.region, f.name): f for f in lesion_figures(prediction, reference, lesions)}
    for name in ("suvmean", "suvmax", "suvpeak", "tlg"):
        assert figures["label 1", f"{name} bias"].value == pytest.approx(-10, abs=1e-3), name
        assert figures["label 2", name].value == pytest.approx(
            0.9 * figures["label 2", f"{name} reference"].value
        )
    assert figures["label 1", "mtv bias"].value == pytest.approx(0)
    assert figures["label 1", "volume"].value == pytest.approx(64 * 0.012)
    assert all("mask as given" in figure.convention for figure in figures.values())
