"""No name, number, birth date or address of a patient in what mapdiff prints or writes beside an image.

Unusual words are planted wherever a header can hold them: DICOM elements and file meta, private elements,
sequences, free text that people type, NIfTI header text and extensions, sidecars, the test set's table. Then
the verbs run, with good and with bad input, and every output but the images is searched.
"""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from mapdiff.cli.main import run
from mapdiff.formats.deidentify import deidentified
from mapdiff.formats.dicom_files import copied
from mapdiff.formats.dicom_series import new_study, series_of, write_series
from mapdiff.formats.identity import impersonal
from synthetic import SPACING_MM, low_dose_volume
from udpet_scans import FACTS, QUADRA_NAMES, small_scans, write_tree_subject

#: Name, number, birth date (as DICOM and as people write it), address, relatives, all made up.
PLANTED = ("quorra", "zyxwell", "kq-7714x", "19410713", "1941-07-13", "13.07.1941", "marzipan", "obadiah")
NAME, NUMBER, BORN, STREET = "Zyxwell^Quorra", "KQ-7714X", "19410713", "9 Marzipan Alley"
IMAGES = (".dcm", ".nii", ".nii.gz", ".zip")
Call = Callable[..., tuple[int, str]]


def plant(header: Dataset) -> None:
    header.PatientName, header.PatientID, header.PatientBirthDate = NAME, NUMBER, BORN
    header.PatientAddress, header.OtherPatientIDs, header.PatientMotherBirthName = STREET, NUMBER, "Obadiah"
    header.PatientComments = header.StudyDescription = f"{NAME} born 13.07.1941"
    header.SeriesDescription = "WB of Quorra Zyxwell"
    header.ProtocolName = header.ImageComments = header.InstitutionAddress = f"{STREET}, {NUMBER}"
    header.StationName = header.OperatorsName = header.ReferringPhysicianName = "Quorra"
    header.ManufacturerModelName = f"Scanner of {NUMBER}"
    request = Dataset()
    request.RequestedProcedureDescription = request.ScheduledProcedureStepDescription = NAME
    header.RequestAttributesSequence = [request]
    for group, creator in ((0x0019, "ACME"), (0x0009, "GEMS_PETD_01"), (0x7053, "Philips PET Private Group")):
        block = header.private_block(group, creator, create=True)
        block.add_new(0x44, "LO", NAME)
        block.add_new(0x45, "UN", f"{NUMBER} {BORN} ".encode())
    header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "LO", NAME)
    drug = header.RadiopharmaceuticalInformationSequence[0]
    drug.Radiopharmaceutical = "FDG for Zyxwell"
    header.file_meta.SourceApplicationEntityTitle = "QUORRA"
    header.file_meta.PrivateInformationCreatorUID = "1.2.3"
    header.file_meta.PrivateInformation = f"{NAME} {NUMBER}".encode()
    header.preamble = f"{NAME} {NUMBER} {STREET}".encode().ljust(128, b"\0")


def planted_series(folder: Path, edit: Callable[[Dataset, int], object] = lambda header, k: None) -> Path:
    study = new_study(datetime(2022, 2, 24, 12, 10), NAME, NUMBER, str(folder))
    scan = small_scans(doses=(Fraction(1), Fraction(1, 20)))[Fraction(1, 20)]
    volume = low_dose_volume().__class__(scan, np.diag([*SPACING_MM, 1.0]), "Bq/mL", FACTS)
    datasets = []
    for k, shared in enumerate(series_of(volume, study, "WB", 1)):
        header = copied(shared)  # its slices share elements
        header.RadiopharmaceuticalInformationSequence = [
            copied(shared.RadiopharmaceuticalInformationSequence[0])
        ]
        header.file_meta = shared.file_meta
        datasets.append(header)
        plant(header)
        edit(header, k)
    write_series(datasets, folder)
    return folder


def planted_nifti(path: Path, sidecar: bool = True, **fields: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = low_dose_volume()
    image = nib.Nifti1Image(scan.array, scan.affine)
    image.header["descrip"] = b"Quorra Zyxwell 1941-07-13 Bq/mL"
    image.header["aux_file"] = image.header["db_name"] = b"Marzipan Alley"
    image.header["intent_name"] = b"KQ-7714X"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, f"{NAME} {NUMBER}".encode()))
    nib.save(image, path)
    if sidecar:
        told = {"PatientName": NAME, "PatientID": NUMBER, "PatientBirthDate": "1941-07-13"}
        told |= {"PatientAddress": STREET, "TracerName": "FDG (Quorra)", "ManufacturersModelName": NUMBER}
        told |= {"SeriesDescription": NAME, "Comment": STREET, "ProcedureStepDescription": f"{NAME} {BORN}"}
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        path.with_name(f"{name}.json").write_text(json.dumps(told | fields))
    return path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """`call(word, ...)` gives the exit code, and all that was said on stdout and stderr."""

    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mapdiff", *map(str, words)])
        code = 0
        try:
            run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, "".join(capfd.readouterr())

    return command


def check(text: str) -> None:
    found = [word for word in PLANTED if word in text.lower()]
    assert not found, (found, text[:2000])


def check_files(folder: Path, images_too: bool = False) -> int:
    """Search all that lies in a folder; how many files that were."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    searched = [path for path in files if images_too or not path.name.endswith(IMAGES)]
    for path in searched:
        raw = path.read_bytes()
        check(path.name)
        check((gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("latin-1"))
    return len(searched)


@pytest.mark.filterwarnings("ignore")
def test_dicom(tmp_path: Path, small_model: Path, call: Call) -> None:
    scan, out = planted_series(tmp_path / "scan"), tmp_path / "out"
    done = ("denoise", scan, "-o", out / "restored", "--model", small_model, "--report", "--save-stages")
    simulated = ("simulate", "--from-image", scan, "-o", out / "low", "--dose", "1/4")
    for words in (
        ("info", scan),
        ("info", scan, "--json"),
        done,
        ("report", out / "restored", "-o", out / "again.html"),
        ("evaluate", out / "restored", scan, "--json", out / "figures.json"),
        simulated,
    ):
        code, said = call(*words)
        assert code == 0, said
        check(said)
    assert check_files(out) >= 7
    assert check_files(out / "low", images_too=True) >= 8  # a simulated scan is a new one
    assert pydicom.dcmread(next((out / "restored").iterdir())).PatientName == NAME  # kept, unless...
    bare = tmp_path / "bare" / "restored"
    code, said = call("denoise", scan, "-o", bare, "--model", small_model, "--deidentify", "--report")
    assert code == 0
    check(said)
    assert check_files(bare.parent, images_too=True) > 10


@pytest.mark.filterwarnings("ignore")
def test_nifti_and_table(tmp_path: Path, small_model: Path, call: Call) -> None:
    tests, out = tmp_path / "in", tmp_path / "out"
    name = "Anonymous-01_DRF-20.nii.gz"
    scan = planted_nifti(tests / name)
    head = "NiftiFileName,DoseReductionFactor,PatientName,PatientWeight_kg,ImageUnits,"
    head += "TimeFromInjectionToAcquisition_s,RadionuclideTotalDose_Bq,RadionuclideHalfLife_s,Address\n"
    row = f"{name},20,{NAME},55,BQML,3399,203500000,6588,{STREET}\n"
    table = tmp_path / "PET_info.csv"
    table.write_text(head + row)
    denoise = ("denoise", tests, "-o", out, "--model", small_model, "--csv", table, "--report")
    for words in (
        ("info", scan),
        denoise,
        ("evaluate", out / name, scan, "--json", out / "figures.json"),
        ("simulate", "--from-image", scan, "-o", tmp_path / "low" / "c", "--dose", "1/4"),
    ):
        code, said = call(*words)
        assert code == 0, said
        check(said)
    (out / "Anonymous-01_DRF-20.json").unlink()  # the image's own, which keeps the source's fields
    assert check_files(out) == 3
    assert check_files(tmp_path / "low", images_too=True) >= 8
    bare = tmp_path / "bare" / "scan.nii.gz"
    code, said = call("denoise", scan, "-o", bare, "--model", small_model, "--deidentify")
    assert code == 0
    assert check_files(bare.parent, images_too=True) == 3
    for broken in (row.replace(",55,", f",{NAME},"), row + row, row.replace(",20,", f",{NUMBER},"), row[30:]):
        table.write_text(head + broken)
        code, said = call(*denoise, "--overwrite")
        assert code == 2 and said.count("\n") == 1
        check(said.replace(str(tmp_path), ""))


@pytest.mark.filterwarnings("ignore")
def test_ingest(tmp_path: Path, call: Call) -> None:
    few = (Fraction(1), Fraction(1, 4), Fraction(1, 20))
    tree, cohort = tmp_path / "tree", tmp_path / "cohort"
    for n, name in enumerate(("QUORRA_ZYXWELL", "KQ-7714X", "Marzipan 9")):
        write_tree_subject(tree / name, QUADRA_NAMES, small_scans(n, few), edit=lambda h, _: plant(h))
    broken = sorted((tree / "Marzipan 9" / "1-4 dose").iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:-300])
    broken.rename(broken.with_name("Zyxwell.dcm"))
    code, said = call("ingest", tree, "-o", cohort, "--doses", "full,1/4,1/20")
    assert code == 3 and "sub-002: left out" in said, said
    check(said)
    assert check_files(cohort, images_too=True) > 5


def without(*keywords: str) -> Callable[[Dataset, int], None]:
    return lambda header, k: [delattr(header, keyword) for keyword in keywords]  # type: ignore[return-value]


def everywhere(keyword: str, told: str = "ZYXWELL") -> Callable[[Dataset, int], None]:
    """The name where a code or a figure should be, as in a header whose elements have slipped."""

    def edit(header: Dataset, k: int) -> None:
        header[keyword] = DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", told)

    return edit


def drug(keyword: str) -> Callable[[Dataset, int], None]:
    return lambda header, k: everywhere(keyword)(header.RadiopharmaceuticalInformationSequence[0], k)


#: The code is 0 where the scan can still be read.
BAD: list[tuple[str, Callable[[Dataset, int], object], int]] = [
    ("two patients", lambda h, k: setattr(h, "PatientID", f"{NUMBER}-{k % 2}"), 2),
    ("two series", lambda h, k: setattr(h, "SeriesInstanceUID", f"1.2.{k % 2}"), 2),
    ("two series, numbers of the patient", lambda h, k: slipped_series(h, k), 2),
    ("missing slice", lambda h, k: setattr(h, "ImagePositionPatient", [0, 0, 4 * k + 4 * (k > 5)]), 2),
    ("no position", without("ImagePositionPatient"), 2),
    *[
        (f"name in {keyword}", everywhere(keyword), code)
        for keyword, code in (
            ("Modality", 2),
            ("Units", 0),
            ("DecayCorrection", 0),
            ("PhotometricInterpretation", 2),
            ("Manufacturer", 0),
            ("PatientWeight", 0),
            ("PatientSex", 0),
            ("InstanceNumber", 0),
            ("SeriesTime", 0),
            ("FrameReferenceTime", 0),
            ("RescaleSlope", 2),
            ("RescaleIntercept", 2),
            ("Rows", 2),
            ("PixelSpacing", 2),
            ("ImagePositionPatient", 2),
            ("SOPClassUID", 2),
            ("CorrectedImage", 0),
            ("TimezoneOffsetFromUTC", 0),
        )
    ],
    ("name for a kind of SUV", lambda h, k: (setattr(h, "Units", "GML"), everywhere("SUVType")(h, k)), 0),
    ("name in RadionuclideTotalDose", drug("RadionuclideTotalDose"), 0),
    ("name in RadiopharmaceuticalStartDateTime", drug("RadiopharmaceuticalStartDateTime"), 0),
    ("name and number without a slope", lambda h, k: slipped_instance(h, k), 2),
]


def slipped_series(header: Dataset, k: int) -> None:
    header.SeriesInstanceUID = f"1.2.{k % 2}"
    header["SeriesNumber"] = DataElement(0x00200011, "LO", NUMBER)


def slipped_instance(header: Dataset, k: int) -> None:
    header["InstanceNumber"] = DataElement(0x00200013, "LO", "Zyxwell")
    del header.RescaleSlope


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("edit", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_series(tmp_path: Path, call: Call, edit: Callable[[Dataset, int], object], code: int) -> None:
    scan = planted_series(tmp_path / "scan", edit)
    found, said = call("info", scan)
    assert found == code, said
    check(said)


@pytest.mark.filterwarnings("ignore")
def test_truncated_and_unreadable_files(tmp_path: Path, small_model: Path, call: Call) -> None:
    scan = planted_series(tmp_path / "scan")
    file = sorted(scan.iterdir())[3]
    content = file.read_bytes()
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.99):
        file.write_bytes(content[: int(len(content) * share)])
        for words in (("info", scan), ("denoise", scan, "-o", tmp_path / "out", "--model", small_model)):
            code, said = call(*words)
            assert code == 2 and said.count("\n") == 1, said
            check(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")
def test_contours_and_sidecars(tmp_path: Path, call: Call) -> None:
    scan = planted_series(tmp_path / "scan")
    ct = planted_nifti(tmp_path / "ct.nii.gz", Modality="ZYXWELL")
    broken = planted_nifti(tmp_path / "broken.nii.gz")
    (tmp_path / "broken.json").write_text('{"PatientName": "Zyxwell^Quorra", "PatientID": ')
    latin = planted_nifti(tmp_path / "latin.nii.gz")
    (tmp_path / "latin.json").write_bytes('{"PatientName": "Zyxw\xebll^Quorra"}'.encode("latin-1"))
    for path in (ct, broken, latin):
        code, said = call("info", path)
        assert code == 2
        check(said)
    contours = pydicom.dcmread(sorted(scan.iterdir())[0], stop_before_pixels=True)
    contours.SOPClassUID, contours.Modality = "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"
    contours.file_meta.MediaStorageSOPClassUID = contours.SOPClassUID
    roi, shape, contour = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, shape.ReferencedROINumber = 1, "tumour of Quorra", 1
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    z = float(contours.ImagePositionPatient[2])
    x, y = (float(v) for v in contours.ImagePositionPatient[:2])
    corners = ((4, 4), (40, 4), (40, 40), (4, 40))
    contour.ContourData = [v for right, down in corners for v in (x - right, y - down, z)]
    shape.ContourSequence = [contour]
    contours.StructureSetROISequence, contours.ROIContourSequence = [roi], [shape]
    contours.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    code, said = call("evaluate", scan, scan, "--lesions", tmp_path / "rt.dcm", "--json", tmp_path / "f.json")
    assert code == 0, said
    check(said)
    told = (tmp_path / "f.json").read_text()
    assert "ROI 1" in told
    check(told)
    del contour.ContourData
    contours.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    code, said = call("evaluate", scan, scan, "--lesions", tmp_path / "rt.dcm")
    assert code == 2 and "malformed" in said
    check(said)


def test_a_fault_of_ours_tells_where_but_not_what(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    import mapdiff.formats

    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"could not convert string to float: '{NAME}'")

    monkeypatch.setattr(mapdiff.formats, "read", broken)
    code, said = call("info", "scan.nii")
    assert code == 1 and "ValueError" in said and "in broken" in said
    check(said)


@pytest.mark.parametrize(
    ("name", "number", "told"),
    [
        ("Li^Na", "", "FDG LI NA"),
        ("Wu^Yi", "", "FDG yiwu"),
        ("Wang^Xiaoming=\u738b^\u5c0f\u660e", "", "FDG \u738b\u5c0f\u660e"),
        ("Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9", "", "FDG \ud64d\uae38\ub3d9"),
        ("", "12-34-56", "FDG 12-34-56"),
        ("", "123456", "FDG 12.34.56"),
    ],
)
def test_short_and_ideographic_names_are_names(name, number, told):
    header = {"PatientName": name, "PatientID": number}
    assert impersonal(header, told) is None
    for harmless in ("FDG", "Fluorodeoxyglucose F^18^", "WB AC 3.27", "F-18 natrium fluoride"):
        assert impersonal(header, harmless) == harmless


@pytest.mark.parametrize(
    "told", ["born 17/03/1951", "17 Mar 1951", "FDG 3-17-1951", "17.3.1951", "March 17, 1951", "19510317"]
)
def test_a_birth_date_is_told_in_any_order(told):
    assert impersonal({"PatientBirthDate": "1951-03-17"}, told) is None
    assert impersonal({"PatientBirthDate": "19510417"}, told) == told


def test_what_a_text_must_not_quote_without_identity(tmp_path: Path) -> None:
    """Dates and UIDs of the header, the clinic and its people; what tells of the scan alone stays."""
    folder = planted_series(tmp_path / "scan")
    header = pydicom.dcmread(sorted(folder.iterdir())[0], stop_before_pixels=True)
    private = [tag for tag in header.keys() if tag.is_private]  # noqa: SIM118 - values that cannot be read
    for tag in private:  # as the writer does
        del header[tag]
    header.StudyDate, header.StudyID, header.PatientAge = "20240511", "ST556677", "095Y"
    header.InstitutionName, header.DeviceSerialNumber = "Siemens Klinikum Hinterdorf", "778899"
    header.ReferringPhysicianName, header.Manufacturer = "Faustus^Maria", "SIEMENS"

    def cleaned(told: str) -> str:
        header.ReconstructionMethod = told
        return str(deidentified([header])[0].ReconstructionMethod)

    for quoting in (
        "20240511 run",
        "of 11 May 2024",
        "no. ST556677",
        "map 1.2.3.4.5.6789012345",
        "VG 778899",
        "Hinterdorf PSF",
        "OSEM by Faustus",
    ):
        assert cleaned(quoting) == "", quoting
    for telling in ("OSEM 4i5s", "PSF+TOF 3i17s", "VUE Point FX, 2.0.1", "TOF-OSEM"):
        assert cleaned(telling) == telling
    clean = deidentified([header])[0]
    assert clean.Manufacturer == "SIEMENS" and clean.PatientAge == "090Y"
    header.PatientAge = "064Y"
    assert deidentified([header])[0].PatientAge == "064Y"


@pytest.mark.parametrize(
    ("name", "told", "quoted"),
    [
        ("Müller^Jörg", "PET Mueller Joerg", True),
        ("Müller^Jörg", "PET MULLER", True),
        ("MUELLER^JOERG", "PET Müller", True),
        ("Núñez^José", "Nunez follow-up", True),
        ("Müller^Jörg", "PET WB AC", False),
        ("Groß^Åse", "Gross tumour", True),
    ],
)
def test_a_name_is_known_however_its_letters_are_typed(name, told, quoted):
    assert (impersonal({"PatientName": name}, told) is None) == quoted
