"""The cohort store: subjects as chunked, compressed Zarr 3 arrays, read a patch at a time.

STORE/zarr.json            what the store is: the cohort's name and facts
STORE/sub-001/zarr.json    the facts of one subject (`SubjectFacts`)
STORE/sub-001/scans        (images, I, J, K) float16: the doses, the highest first, then the target
STORE/sub-001/blocks       (n, 4) uint16: blocks of 8^3 voxels that hold body, and how many voxels of it
STORE/sub-001/lesions      (m, 3) uint16: voxels inside lesions
STORE/sub-001/hot          (m, 3) uint16: the hottest hundredth of the body's voxels

The unit is the body's mean at full dose (`scale` times that is the unit of the files), so rounding to float16
errs by 0.049 % of SUV at most, or by 3e-8 body means where that is more. All images of a place lie in one
chunk of 24^3 voxels: a patch of 48^3 reads 3.2 times its own bytes on average, one of 64^3 2.5 times, before
compression. Chunks are gathered in shards of 144^3 voxels, one file each.
"""

import json
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import TypeAdapter
from zarr.codecs import ZstdCodec

from mapdiff.cohort.subject import SubjectScans, hash_of
from mapdiff.dose import dose_label, parse_dose
from mapdiff.errors import InputError

KIND, VERSION = "mapdiff store", 1
#: Edges in voxels: of a chunk, of a shard, of a block of the index.
CHUNK, SHARD, BLOCK = 24, 144, 8
ZSTD_LEVEL = 1
#: Part of the body that counts as its hottest (bladder, heart, brain, kidneys).
HOT_PART = 0.01
#: Most voxels that a table of places keeps; where there are more, every so manieth.
MOST_PLACES = 20_000
META_FILE = "zarr.json"
#: Of a subject.
ARRAYS = ("scans", "blocks", "lesions", "hot")
#: Arrays that a process keeps open.
OPEN_ARRAYS = 128


@dataclass(frozen=True)
class SubjectFacts:
    """What the store knows of one subject without reading its voxels.

    Attributes:
        name: of the subject.
        doses: labels, from the highest to the lowest.
        shape: of the crop, voxels.
        spacing_mm: voxel size.
        origin: of the crop in the files' grid.
        scale: body's mean at full dose, in `unit`.
        unit: of the files.
        has_truth: the target is the noise-free image, else the full dose.
        body_voxels: voxels inside the body.
        noise: by dose label, standard deviation of (dose - full dose) over the mean, inside the body.
        degradation: by measure, what `calibrate` needs: "real" by dose label, "simulated" and "gaussian" on
            their grids, and "grain_mm3".
        notes: what is odd about the subject.
        sources: the files it was made from: name, bytes, mtime_ns, sha256.
        parts: bytes and SHA-256 of each file of its arrays, by path below the subject's folder.
    """

    name: str
    doses: tuple[str, ...]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin: tuple[int, int, int]
    scale: float
    unit: str
    has_truth: bool
    body_voxels: int
    noise: dict[str, float]
    degradation: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, tuple[int, str]] = field(default_factory=dict)


class StoredSubject:
    """One subject of a store. It holds no open file, so it can be sent to another process."""

    def __init__(self, path: Path) -> None:
        """Read the facts.

        Raises:
            InputError: there is no subject of a store.
        """
        self.path = path
        try:
            attributes = json.loads((path / META_FILE).read_text())["attributes"]["subject"]
            self.facts = TypeAdapter(SubjectFacts).validate_python(attributes)
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError("is not a subject of a cohort store", path) from None

    @property
    def name(self) -> str:
        """The cohort's and the subject's name, "quadra/sub-001"."""
        return f"{self.path.parent.name}/{self.facts.name}"

    @cached_property
    def doses(self) -> tuple[Fraction, ...]:
        """From the highest to the lowest."""
        return tuple(parse_dose(label) for label in self.facts.doses)

    def read(self, box: tuple[slice, slice, slice]) -> NDArray[np.float16]:
        """All doses and the target in a box of voxels inside the crop, (doses + 1, ...), float16.

        Raises:
            InputError: the files are gone or broken.
        """
        path = self.path / "scans"
        try:
            return np.asarray(_opened(path)[(slice(None), *box)])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"cannot be read: {error}", path) from None

    def _table(self, name: str) -> NDArray[np.uint16]:
        try:
            return np.asarray(zarr.open_array(self.path / name, mode="r")[:])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"cannot be read: {error}", self.path / name) from None

    def body_blocks(self) -> NDArray[np.uint16]:
        """(n, 4): index of each block that holds body, along i, j, k, and its body voxels."""
        return self._table("blocks")

    def lesion_voxels(self) -> NDArray[np.uint16]:
        """(m, 3) voxel indices inside lesions."""
        return self._table("lesions")

    def hot_voxels(self) -> NDArray[np.uint16]:
        """(m, 3) voxel indices of the hottest of the body."""
        return self._table("hot")


@lru_cache(maxsize=OPEN_ARRAYS)
def _opened(path: Path) -> Any:
    return zarr.open_array(path, mode="r")


def is_store(path: Path) -> bool:
    """Whether a folder is a cohort store."""
    try:
        attributes = json.loads((path / META_FILE).read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(attributes, dict) and attributes.get("kind") == KIND


def create_store(path: Path, cohort: str, facts: dict[str, Any]) -> None:
    """Make an empty store, or find the one that is there to be of the same cohort.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    wanted = {"kind": KIND, "version": VERSION, "cohort": cohort, "facts": facts}
    if is_store(path):
        there = json.loads((path / META_FILE).read_text())["attributes"]
        if there != wanted:
            raise InputError("is the store of another cohort; give another folder", path)
        return
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError("exists and is not a cohort store; give another folder", path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        zarr.create_group(path, attributes=wanted)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path) from None


def store_subjects(path: Path) -> list[StoredSubject]:
    """The subjects of a store, in order.

    Raises:
        InputError: it is no store, of another version, or has no subject.
    """
    if not is_store(path):
        raise InputError("is not a cohort store", path)
    version = json.loads((path / META_FILE).read_text())["attributes"].get("version")
    if version != VERSION:
        raise InputError(f"is a store of version {version}, not {VERSION}: pack the cohort again", path)
    found = [StoredSubject(p.parent) for p in sorted(path.glob(f"sub-*/{META_FILE}"))]
    if not found:
        raise InputError("has no subject", path)
    return found


def write_subject(folder: Path, scans: SubjectScans, facts: dict[str, Any]) -> None:
    """Write a subject's arrays and then its facts into a new folder.

    Args:
        folder: where; the caller renames it into the store once it is whole.
        scans: the subject.
        facts: the fields of `SubjectFacts` that are not told by `scans`.
    """
    images = len(scans.doses) + 1
    shape = scans.body.shape
    group = zarr.create_group(folder)
    array = group.create_array(
        "scans",
        shape=(images, *shape),
        dtype="float16",
        chunks=(images, CHUNK, CHUNK, CHUNK),
        shards=(images, SHARD, SHARD, SHARD),
        compressors=[ZstdCodec(level=ZSTD_LEVEL)],
        fill_value=0,
        dimension_names=("image", "i", "j", "k"),
    )
    for i in range(0, shape[0], SHARD):  # a slab of shards at a time, so that the memory stays small
        slab = slice(i, i + SHARD)
        array[:, slab] = np.concatenate([scans.scans[:, slab], scans.target[slab][None]])
    tables = {
        "blocks": body_blocks(scans.body),
        "lesions": _thinned(scans.lesion_voxels),
        "hot": _thinned(hottest(scans.target, scans.body)),
    }
    for name, table in tables.items():
        group.create_array(
            name,
            shape=table.shape,
            dtype="uint16",
            chunks=(max(len(table), 1), table.shape[1]),
            compressors=[ZstdCodec(level=ZSTD_LEVEL)],
        )[:] = table
    parts = {
        str(p.relative_to(folder)): (p.stat().st_size, hash_of(p))
        for p in sorted(folder.glob("*/**/*"))  # not the subject's own zarr.json, which will hold this
        if p.is_file()
    }
    whole = SubjectFacts(
        name=scans.name,
        doses=tuple(dose_label(dose) for dose in scans.doses),
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=scans.spacing_mm,
        origin=scans.origin,
        scale=scans.scale,
        unit=scans.unit,
        has_truth=scans.has_truth,
        body_voxels=int(scans.body.sum()),
        parts=parts,
        **facts,
    )
    group.attrs["subject"] = asdict(whole)


def body_blocks(body: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Index and number of body voxels of each block of 8^3 voxels that holds any, (n, 4)."""
    counts = body.astype(np.uint16)
    for axis in range(3):
        counts = np.add.reduceat(counts, np.arange(0, counts.shape[axis], BLOCK), axis=axis)
    where = np.argwhere(counts > 0)
    return np.concatenate([where, counts[tuple(where.T)][:, None]], axis=1).astype(np.uint16)


def hottest(target: NDArray[np.float16], body: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the hottest hundredth of the body's voxels, (m, 3)."""
    inside = target[body].astype(np.float32)
    return np.argwhere(body & (target >= np.quantile(inside, 1 - HOT_PART)))


def _thinned(places: NDArray[np.int64]) -> NDArray[np.uint16]:
    stride = max(1, -(-len(places) // MOST_PLACES))
    return places[::stride].astype(np.uint16)
