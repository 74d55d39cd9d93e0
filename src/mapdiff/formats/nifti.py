"""NIfTI images (.nii, .nii.gz), with their BIDS-PET sidecar where there is one."""

from __future__ import annotations

import gzip
import json
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from mapdiff.atomic import check_target, written_aside
from mapdiff.errors import InputError
from mapdiff.formats import bids
from mapdiff.formats.checks import check_shape, check_spacing, check_voxels, facts_warnings, is_singular
from mapdiff.formats.identity import impersonal
from mapdiff.scratch import release, slabs
from mapdiff.volume import UNKNOWN, Acquisition, Volume

ENDINGS = (".nii", ".nii.gz")
#: Slices that are scaled at a time.
SLICES = 32
_PET = ("PT", "PET", "")
_DAMAGED = "is damaged: its gzip checksum does not fit"


@dataclass(frozen=True)
class NiftiSource:
    """What a NIfTI file is written back with.

    Attributes:
        header: its header.
        shape: its shape, with the axes of length one that were squeezed away.
        sidecar: the fields of its sidecar, or None.
        unit: its unit as read.
        factor: what its voxels were multiplied with to get that unit (1000 for kBq/mL).
        stored_as: its voxels' own unit, as the call, the sidecar or the header words it.
    """

    header: Any
    shape: tuple[int, ...]
    sidecar: dict[str, Any] | None
    unit: str
    factor: float
    stored_as: str


def is_nifti(path: Path) -> bool:
    """Whether the name says NIfTI."""
    return path.name.lower().endswith(ENDINGS)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel and NumPy from printing about a header that is refused anyway, or read as it is."""
    logger = nib.imageglobals.logger
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_nifti(path: Path, unit: str | None = None) -> Volume:
    """Read a NIfTI image; scl_slope is applied, the array is float32.

    Args:
        path: a .nii or .nii.gz file; `NAME.json` beside it is its BIDS sidecar.
        unit: "Bq/mL", "kBq/mL" or "SUV", in place of what the file says.

    Raises:
        InputError: it is not a readable 3D PET image; one line with the cause.
    """
    if path.stat().st_size == 0:
        raise InputError("is empty", path)
    fields = bids.load_sidecar(path)
    modality = str((fields or {}).get("Modality", "")).upper()
    if modality not in _PET:
        told = impersonal(fields or {}, modality) or "of another kind"
        raise InputError(f"is not PET: its sidecar says Modality {told}", path)
    with _quiet():
        array, header, affine, shape, notes = _load(path)
    acquisition = bids.acquisition_from_sidecar(fields) if fields is not None else Acquisition()
    stored_as = _stored_as(unit, fields, header)
    found, factor = bids.parse_unit(stored_as) or (UNKNOWN, 1.0)
    if factor != 1:
        array = array * np.float32(factor)
    notes += check_voxels(array, path) + facts_warnings(found, acquisition)
    source = NiftiSource(header, shape, fields, found, factor, stored_as)
    return Volume(array, affine, found, acquisition, notes, source)


def _load(path: Path) -> tuple[NDArray[Any], Any, NDArray[np.float64], tuple[int, ...], tuple[str, ...]]:
    try:
        image: Any = nib.load(path)
        with nib.openers.ImageOpener(str(path)) as file:
            as_stored = type(image.header).from_fileobj(file, check=False)
    except PermissionError:
        raise InputError("no permission to read it", path) from None
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise InputError("is not a NIfTI image, or its header is broken", path) from error
    except ValueError as error:  # nibabel's words on a quaternion that no rotation has
        if "w2 should be positive" in str(error):
            raise InputError("its qform is broken, and it has no sform", path) from error
        raise InputError("cannot be read: truncated or not a NIfTI image", path) from error
    except (OSError, EOFError, zlib.error, OverflowError) as error:
        if "CRC" in str(error):
            raise InputError(_DAMAGED, path) from error
        raise InputError("cannot be read: truncated or not a NIfTI image", path) from error
    if not isinstance(image, nib.nifti1.Nifti1Image):
        raise InputError(f"is {type(image).__name__}, not NIfTI", path)
    proxy: Any = image.dataobj
    kind = np.dtype(proxy.dtype)
    if kind.fields is not None:
        raise InputError("is a colour (RGB) image, not PET", path)
    if kind.kind == "c":
        raise InputError("has complex voxels, so it is not a PET image", path)
    shape = tuple(int(n) for n in image.shape)
    three = check_shape(shape, path)
    affine = np.asarray(image.affine, dtype=np.float64)
    notes = _geometry(image.header, as_stored, affine, path)
    if np.isinf(as_stored["scl_slope"]) or (as_stored["scl_slope"] != 0 and np.isinf(as_stored["scl_inter"])):
        raise InputError("its scl_slope or scl_inter is infinite", path)
    try:
        array = _voxels(path, proxy).reshape(three)
    except (OSError, EOFError, ValueError, zlib.error, OverflowError) as error:
        damaged = isinstance(error, gzip.BadGzipFile)
        cause = (
            "is damaged: its gzip checksum does not fit" if damaged else "is truncated: it holds fewer voxels"
        )
        raise InputError(cause if damaged else f"{cause} than its header says", path) from error
    except MemoryError as error:
        raise InputError(f"does not fit into memory: {' x '.join(map(str, shape))} voxels", path) from error
    return array, image.header, affine, shape, notes


def _voxels(path: Path, proxy: Any) -> NDArray[np.float32]:
    """The scaled voxels; a .gz is read to its end, where its checksum is."""
    with nib.openers.ImageOpener(str(path)) as file:
        spec = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
        stored = nib.arrayproxy.ArrayProxy(file, spec)  # type: ignore[no-untyped-call]
        if proxy.dtype == np.float32 and path.suffix.lower() != ".gz":
            array = np.asarray(stored, dtype=np.float32)  # mapped from the file where it has no slope
        else:  # scaling takes 8 or 16 bytes for each voxel: of some slices at a time
            array = np.empty(proxy.shape, np.float32, order="F")
            for first in range(0, proxy.shape[2], SLICES):
                part = (slice(None), slice(None), slice(first, first + SLICES))
                array[part] = stored[part]
        while path.suffix.lower() == ".gz" and file.read(2**20):
            pass
    return array


def _geometry(header: Any, as_stored: Any, affine: NDArray[np.float64], path: Path) -> tuple[str, ...]:
    """Warn about a missing orientation; refuse a voxel size that is absurd, or told in two ways.

    Only pixdim is always there: qform takes its voxel size from it, sform has its own. nibabel mends a
    header as it reads it; `as_stored` is the file's own.

    Raises:
        InputError: the voxel size is not known, absurd or told in two ways.
    """
    if is_singular(affine):
        raise InputError("its affine is singular or not finite, so the voxel size is not known", path)
    length = {1: "meters", 3: "microns"}.get(int(header["xyzt_units"]) % 8)  # other codes: mm, or not told
    if length is not None:
        raise InputError(f"its voxel size is told in {length}; mm are needed", path)
    if int(header["sform_code"]) == 0 and not (np.abs(as_stored["pixdim"][1:4]) > 0).all():
        raise InputError("pixdim is zero or not finite, so the voxel size is not known", path)
    check_spacing(affine, path)
    codes = int(header["qform_code"]), int(header["sform_code"])
    zooms = np.asarray(header.get_zooms()[:3], dtype=float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if codes[1] > 0 and not np.allclose(zooms, spacing, rtol=0.01):
        stated = " x ".join(f"{z:.4g}" for z in zooms)
        formed = " x ".join(f"{s:.4g}" for s in spacing)
        raise InputError(f"conflicting spacing: pixdim says {stated} mm, sform {formed} mm", path)
    if codes == (0, 0):
        return ("the file tells no orientation (qform and sform codes are 0); left and right are not known",)
    if codes[0] > 0 and codes[1] > 0:
        try:
            agree = np.allclose(header.get_qform(), affine, atol=0.5)
        except ValueError:  # no rotation has such a quaternion
            return ("its qform is broken; took sform",)
        return () if agree else ("qform and sform place the image differently; took sform",)
    return ()


def _stored_as(asked: str | None, fields: dict[str, Any] | None, header: Any) -> str:
    """The unit that the call, the sidecar or the header's description tells, in that order; "" for none."""
    if asked is not None:
        bids.asked_unit(asked)
        return asked
    stated = (fields or {}).get("Units")
    if isinstance(stated, str) and bids.parse_unit(stated):
        return stated
    words = bytes(header["descrip"]).split(b"\0")[0].decode("ascii", "replace").replace(";", " ").split()
    units = [unit for word in words if bids.parse_unit(unit := word.rsplit("=", 1)[-1].strip(",.()[]"))]
    return units[0] if len({bids.parse_unit(unit) for unit in units}) == 1 else ""


def write_nifti(
    volume: Volume,
    path: Path,
    *,
    description: str | None = None,
    model: str | None = None,
    deidentify: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a volume as NIfTI, whole or not at all.

    Data type: float32, or float64 where the source was; never scaled integers, since a processed image does
    not fit its source's scale. Affine, qform and sform codes, axes of length one and the rest of the header
    are the source's. The sidecar is written where the source had one or the volume has facts to tell.

    Args:
        volume: the image.
        path: a .nii or .nii.gz file.
        description: goes into the header (79 characters) and the sidecar.
        model: the model that made the image, for the sidecar's GeneratedBy.
        deidentify: drop the sidecar's fields that tell who the patient is, and the header's free text.
        overwrite: replace what is there.

    Raises:
        InputError: `path` is there already, or cannot be written.
    """
    source = volume.source if isinstance(volume.source, NiftiSource) else None
    fields = _sidecar(volume, source, description, model, deidentify)
    json_path = bids.sidecar_path(path)
    check_target(path, overwrite)
    if fields is not None:
        check_target(json_path, overwrite)
    image = _image(volume, source, description, deidentify)
    with ExitStack() as stack:
        aside = stack.enter_context(written_aside(path))
        if fields is not None:
            json_aside = stack.enter_context(written_aside(json_path))
            json_aside.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        _save(image, aside)


def _image(volume: Volume, source: NiftiSource | None, description: str | None, deidentify: bool) -> Any:
    array = np.asarray(volume.array)
    dtype: np.dtype[Any] = np.dtype(np.float32)
    if source is not None:
        if source.header.get_data_dtype() == np.float64:
            dtype = np.dtype(np.float64)
        if source.factor != 1 and volume.unit == source.unit:
            array = array / source.factor
        array = array.reshape(source.shape)
    header: Any = source.header.copy() if source is not None else nib.nifti1.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(dtype)
    # None keeps the codes of the header; nibabel writes its own where the affine is another one.
    image = type_of(header)(array, None, header)
    if source is None:
        image.set_sform(volume.affine, code=1)
        image.set_qform(volume.affine, code=1)
        image.header.set_xyzt_units("mm")
    else:
        _place(image, volume.affine, source.header)
    if deidentify:  # free text and embedded DICOM headers may name the patient
        for field in ("descrip", "aux_file", "intent_name", "data_type", "db_name"):
            if field in header:  # NIfTI-2 has fewer
                image.header[field] = b""
        image.header.extensions.clear()
    told_anew = deidentify or source is None or source.unit != volume.unit
    if description is None and told_anew and volume.unit != UNKNOWN:
        description = volume.unit
    if description is not None:
        image.header["descrip"] = description.encode("ascii", "replace")[:79]
    image.header["cal_min"] = image.header["cal_max"] = 0
    return image


def _save(image: Any, path: Path) -> None:
    """As `nibabel.save` without scaling, but slab by slab: no copy of the image is made."""
    image.update_header()
    header, array = image.header, image.dataobj
    header.set_slope_inter(1, 0)
    with _packed(path) as file:
        header.write_to(file)
        file.write(bytes(header.get_data_offset() - file.tell()))
        for start, stop in slabs(array.shape[2]):
            file.write(np.asarray(array[:, :, start:stop], header.get_data_dtype()).tobytes(order="F"))
            release(array)


@contextmanager
def _packed(path: Path) -> Iterator[Any]:
    """A file to write to; what goes into a .gz is packed by ISA-L, several times as fast as zlib."""
    with path.open("wb") as plain:
        if path.suffix.lower() != ".gz":
            yield plain
            return
        # Neither name nor time in its header: the same voxels give the same file.
        with igzip.IGzipFile("", "wb", fileobj=plain, mtime=0) as packed:  # type: ignore[no-untyped-call]
            yield packed


def type_of(header: Any) -> type:
    """The image class of a header: NIfTI-1 or NIfTI-2."""
    return nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image


def _place(image: Any, affine: NDArray[np.float64], header: Any) -> None:
    """Give the image its source's qform and sform with their codes; both follow if the affine is another."""
    codes = int(header["qform_code"]), int(header["sform_code"])
    if np.allclose(header.get_best_affine(), affine, atol=1e-4):
        for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"):
            image.header[name] = header[name]
        for name in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "pixdim"):
            image.header[name] = header[name]
    else:
        image.set_sform(affine, code=max(codes[1], 1))
        image.set_qform(affine, code=max(codes[0], 1))
    image._affine = image.header.get_best_affine()


def _sidecar(
    volume: Volume, source: NiftiSource | None, description: str | None, model: str | None, deidentify: bool
) -> dict[str, Any] | None:
    fields = bids.sidecar(volume)
    had = source.sidecar if source is not None else None
    scaled_back = source is not None and source.factor != 1 and volume.unit == source.unit
    if had is None and len(fields) <= 2 and model is None and not scaled_back:  # no facts of the scan
        return None
    if had is not None:
        fields = bids.merged(had, fields, volume.acquisition.supplied)
    if source is not None and scaled_back:
        fields["Units"] = source.stored_as
    if deidentify:
        fields = bids.without_identity(fields)
    if model is not None:
        from mapdiff import __version__

        made = {"Name": "mapdiff", "Version": __version__, "Model": model}
        made |= {"Description": description} if description else {}
        fields["GeneratedBy"] = [*_list(fields.get("GeneratedBy")), made]
    elif description is not None:
        fields["Description"] = description
    return fields


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
