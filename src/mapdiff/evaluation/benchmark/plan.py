"""What a benchmark runs: cohorts, methods, input doses. A JSON file that is committed before the test."""

import json
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mapdiff.dose import dose_label, parse_dose
from mapdiff.errors import InputError
from mapdiff.methods.classical import CLASSICAL
from mapdiff.methods.map_diff import MapDiff
from mapdiff.methods.map_diff_paper import MapDiffPaper
from mapdiff.methods.registry import METHODS

#: Rows that need no method: the input itself, and d u + (1 - d) z, the most that anyone could reach against a
#: noisy full dose.
INPUT, ORACLE = "input", "oracle"
PATHS = ("", "mirrored", "chained")
MAIN_DOSE = Fraction(1, 20)


@dataclass(frozen=True)
class CohortSpec:
    """A test cohort: simulated by its figures, or made from real scans.

    Attributes:
        name: "internal", "external", "real", ...
        grid: what its grid is called in the tables.
        scanner: a name of `simulate.scanner.NAMED`.
        seed: with a subject's number it decides the subject; for real scans, the counts.
        subjects: how many; of real scans as many as there are.
        spacing_mm: voxel size; None is the scanner's own.
        slab: slices; None is the whole field of view.
        scans: real scans below the shared data folder, in place of simulated bodies.
        quick: names of the subjects that `--quick` takes.
        doses_first: the input doses besides the main one are for so many subjects; None is all.
    """

    name: str
    grid: str
    scanner: str
    seed: int = 0
    subjects: int = 1
    spacing_mm: tuple[float, float, float] | None = None
    slab: int | None = None
    scans: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("sub-001", "sub-002")
    doses_first: int | None = None

    @property
    def folder(self) -> str:
        """Where it lies below the work folder."""
        return f"{self.name}-{self.grid}".replace(" ", "-")


@dataclass(frozen=True)
class Entry:
    """One way of restoring a scan.

    Attributes:
        method: "input", "oracle", "gaussian", "nlm", or a trained method's name.
        model: a shipped model's name or a model file below the work folder; None where nothing was trained.
        label: what tells it apart from other entries of its method, in the rows; "" where it is the only one.
        seed: of the training, where a method was trained with several.
        sampler: "" for the method's own path; "ddim" or "ancestral" for ddpm.
        steps: of that sampler.
        between: of the paper's path: further steps between neighbouring anchors.
        samples: 0 is the deterministic path, N the mean of N samples.
        path: "" is the method's own; "mirrored" is MAP-Diff's, the network shown the input each time;
            "chained" is MAP-Diff's with the stage before as the state.
        evaluations: of the network on MAP-Diff's path at most; None is the default.
        corrected: whether the estimate is corrected by its residual; None: on MAP-Diff's path, not elsewhere.
        first: only so many subjects of each cohort (1000 steps are for few).
        grids: only cohorts of these grids; () is all.
        main_dose_only: not at the other input doses.
        quick: taken by `--quick`.
        detection: shown to the observer.
    """

    method: str
    model: str | None = None
    label: str = ""
    seed: int = 0
    sampler: str = ""
    steps: int = 0
    between: int = 0
    samples: int = 0
    path: str = ""
    evaluations: int | None = None
    corrected: bool | None = None
    first: int | None = None
    grids: tuple[str, ...] = ()
    main_dose_only: bool = False
    quick: bool = False
    detection: bool = False

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            InputError: the method or its path is unknown, the two do not fit, or it lacks the model that it
                needs.
        """
        if self.path not in PATHS:
            raise InputError(f"benchmark path '{self.path}' is unknown")
        of_map_diff = self.method in METHODS and isinstance(METHODS[self.method](), MapDiff)
        # A one-shot network knows no state: neither a stage before nor a sample's.
        fits = of_map_diff or (self.method == "unet" and self.path == "mirrored" and not self.samples)
        if (self.path and not fits) or (self.evaluations and not (of_map_diff or self.path)):
            raise InputError(f"benchmark method '{self.method}' cannot be run on MAP-Diff's path so")
        of_paper = self.method in METHODS and isinstance(METHODS[self.method](), MapDiffPaper)
        if self.between and not of_paper:
            raise InputError(f"benchmark method '{self.method}' has no paper's path to step between")
        if self.detection and self.method == ORACLE:
            raise InputError("the benchmark's oracle cannot be shown to the observer")
        if self.method in (INPUT, ORACLE, *CLASSICAL):
            return
        if self.method not in METHODS:
            raise InputError(f"benchmark method '{self.method}' is unknown")
        if self.model is None:
            raise InputError(f"benchmark method '{self.method}' needs a model")

    @property
    def shipped(self) -> bool:
        """Whether its model ships with the package and is told by name."""
        return self.model is not None and not self.model.endswith(".safetensors")

    @property
    def sampling(self) -> str:
        """How it samples, in the rows: "", "ddim-50", "ddim-50, mean of 8", "mirrored, seed 1"."""
        words = [self.label] if self.label else []
        words += [f"{self.sampler}-{self.steps}"] if self.sampler else []
        words += [f"mean of {self.samples}"] if self.samples else []
        words += [f"seed {self.seed}"] if self.seed else []
        return ", ".join(words)

    @property
    def key(self) -> str:
        """Its file's name among a subject's results."""
        return "-".join(f"{self.method} {self.sampling}".replace(",", "").split())


@dataclass(frozen=True)
class DetectionSpec:
    """Pairs of scans with and without lesions in the liver, for the observer.

    Attributes:
        scanner: a name of `simulate.scanner.NAMED`.
        seed: with a body's number it decides body and counts.
        contrast: of the lesions; set so that the input's AUC lies between 0.75 and 0.9.
        pairs: of patches.
        spacing_mm: voxel size.
        slices: round the liver.
    """

    scanner: str
    seed: int
    contrast: float
    pairs: int = 200
    spacing_mm: tuple[float, float, float] = (4.0, 4.0, 4.0)
    slices: int = 64


@dataclass(frozen=True)
class Plan:
    """A benchmark.

    Attributes:
        cohorts: the test cohorts.
        entries: what is compared.
        validation: what the untrained methods are tuned on, for each scan the one with the nearest voxel
            size; never a test cohort.
        doses: input doses by label, the main one among them.
        detection: what the observer looks at; None: it does not.
        folder: where models are looked for that the work folder lacks; a plan's file has its own.
    """

    cohorts: tuple[CohortSpec, ...]
    entries: tuple[Entry, ...]
    validation: tuple[CohortSpec, ...]
    doses: tuple[str, ...] = field(default=("1/20",))
    detection: DetectionSpec | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        """Check that nothing clashes.

        Raises:
            InputError: two cohorts or entries have one name, the validation cohort is a test cohort, or the
                main dose is missing.
        """
        for names in ([c.folder for c in (*self.cohorts, *self.validation)], [e.key for e in self.entries]):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise InputError(f"the benchmark plan has {', '.join(sorted(twice))} twice")
        tuned_on = {(v.scanner, v.seed) for v in self.validation}
        if any((c.scanner, c.seed) in tuned_on and not c.scans for c in self.cohorts):
            raise InputError("the benchmark plan tunes on the subjects that it tests on")
        if self.detection and not any(e.detection and e.method == INPUT for e in self.entries):
            raise InputError("the benchmark plan does not show the input to the observer")
        if MAIN_DOSE not in self.fractions:
            raise InputError(f"the benchmark plan lacks the input dose {dose_label(MAIN_DOSE)}")

    @property
    def fractions(self) -> tuple[Fraction, ...]:
        """The input doses."""
        return tuple(parse_dose(label) for label in self.doses)


def model_file(model: str, work: Path, committed: Path) -> Path:
    """The file of a model that does not ship: below the work folder, else where the plan's own models lie.

    Args:
        model: its path below either.
        work: looked into first.
        committed: the plan's folder.
    """
    return next((path for path in (work / model, committed / model) if path.is_file()), work / model)


def runnable(plan: Plan, work: Path) -> tuple[Plan, tuple[Entry, ...]]:
    """The plan without the entries whose model has not been trained yet, and those.

    Args:
        plan: the plan.
        work: where model files are looked for before the plan's own folder.
    """

    def there(entry: Entry) -> bool:
        return entry.shipped or entry.model is None or model_file(entry.model, work, plan.folder).is_file()

    left_out = tuple(entry for entry in plan.entries if not there(entry))
    return replace(plan, entries=tuple(entry for entry in plan.entries if there(entry))), left_out


def read_plan(path: Path) -> Plan:
    """Read a plan's JSON file.

    Raises:
        InputError: it is not there or is not a plan; the text says what is wrong.
    """
    if not path.exists():
        raise InputError("is not there", path)
    try:
        plan = TypeAdapter(Plan).validate_python(json.loads(path.read_text()))
        return replace(plan, folder=path.parent)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"is not a benchmark plan: {place}: {first['msg']}", path) from None
    except InputError as error:
        raise InputError(error.cause, path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"is not a benchmark plan: {error}", path) from None
