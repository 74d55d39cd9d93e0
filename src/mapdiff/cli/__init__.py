"""The command line: one file per verb, thin. Each imports its heavy parts when it runs, not before."""

from collections.abc import Callable

from mapdiff.cli.benchmark import benchmark
from mapdiff.cli.calibrate import calibrate
from mapdiff.cli.check import check
from mapdiff.cli.demo import demo
from mapdiff.cli.denoise import denoise
from mapdiff.cli.evaluate import evaluate
from mapdiff.cli.export import export
from mapdiff.cli.info import info
from mapdiff.cli.ingest import ingest
from mapdiff.cli.pack import pack
from mapdiff.cli.report import report
from mapdiff.cli.simulate import simulate
from mapdiff.cli.train import train

#: The verbs in the order that `mapdiff --help` shows them.
VERBS: list[Callable[..., None]] = [
    denoise,
    report,
    evaluate,
    info,
    simulate,
    ingest,
    check,
    pack,
    calibrate,
    train,
    export,
    benchmark,
    demo,
]
