"""`mapdiff denoise`: the main job."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mapdiff.cli.options import InjectedActivity, InjectionTime, Series, Unit, Weight, becquerels

if TYPE_CHECKING:
    from mapdiff.inference.denoiser import Restoration
    from mapdiff.volume import Volume


def denoise(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A NIfTI file, a folder or zip of a DICOM PET series, or a folder of many scans.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where the result goes; it is of the input's kind.")
    ],
    save_stages: Annotated[
        bool, typer.Option("--save-stages", help="Write the estimates at 1/10, 1/4 and 1/2 of the dose too.")
    ] = False,
    samples: Annotated[
        int, typer.Option(help="Draw that many stochastic results; write their mean and standard deviation.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Decides the stochastic results.")] = 0,
    model: Annotated[
        str, typer.Option(help="A model that ships with mapdiff, or a model file.")
    ] = "map-diff",
    fast: Annotated[
        bool, typer.Option("--fast", help="Ask the network once, not three times; models of map-diff only.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="bf16, float32, or auto: bf16 where the processor has it.")
    ] = "auto",
    series: Series = None,
    unit: Unit = None,
    weight: Weight = None,
    injected_activity: InjectedActivity = None,
    injection_time: InjectionTime = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="The UDPET test set's table (PET_info.csv): weight, activity and times by file."),
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Leave the patient's identity out of the result.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write a page (HTML, offline) to look at input, stages and result."),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(help="For the page of one scan: what it is judged by, such as the full-dose scan."),
    ] = None,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Show the patient's name, ID and dates on the page.")
    ] = False,
    share: Annotated[
        bool,
        typer.Option(
            "--share/--no-share",
            help="Under torchrun, srun or in a SLURM array: each process takes its part of the folder.",
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Restore the full dose from a low-dose PET scan.

    The noise of the scan tells how low its dose was; nobody needs to say. The result has the input's format,
    grid, unit and geometry; beside it a manifest (JSON) tells what was done. Research use only.
    """
    from mapdiff.atomic import check_target
    from mapdiff.errors import InputError, PartialFailure
    from mapdiff.evaluation.compare import common_factors
    from mapdiff.evaluation.masks import same_grid
    from mapdiff.formats import read
    from mapdiff.formats.bids import asked_unit
    from mapdiff.formats.dicom_out import SERIES_FILES
    from mapdiff.formats.nifti import is_nifti
    from mapdiff.formats.udpet import read_csv
    from mapdiff.inference.batch import denoise_many
    from mapdiff.inference.denoiser import Denoiser
    from mapdiff.inference.run import (
        DenoiseOptions,
        batch_target,
        denoise_file,
        output_path,
    )
    from mapdiff.inference.scans import scans_in
    from mapdiff.inference.share import Share, end_together, share_of_work
    from mapdiff.inference.supplied import Supplied
    from mapdiff.report.scan_page import page_of_restoration, page_path

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if samples < 0 or samples == 1:
        raise InputError(f"--samples {samples}: 2 or more, or 0 for the deterministic result")
    if seed < 0:
        raise InputError(f"--seed {seed}: 0 or more")
    if unit is not None:
        asked_unit(unit)
    table = {} if csv is None else read_csv(csv)
    supplied = Supplied(weight, becquerels(injected_activity), injection_time, table)
    options = DenoiseOptions(
        save_stages, samples, seed, overwrite, deidentify, series, unit, supplied, fast, keep_stages=report
    )
    scans = scans_in(source, output, say)
    many = source.is_dir() and scans != [source]
    if many and output.exists() and not output.is_dir():
        raise InputError("is a file: the results of a folder of scans need a folder", output)
    if series is not None and source.is_file() and is_nifti(source):
        raise InputError("is a NIfTI file: --series chooses one of DICOM", source)
    if keep_identity and not report:
        raise InputError("--keep-identity is about the page: give --report too")
    if reference is not None and (many or not report):
        raise InputError("--reference is for the page of one scan: give --report too; for many, `evaluate`")
    truth = None if reference is None else read(reference)
    if truth is not None:
        scan = supplied.applied(read(source, series=series, unit=unit), source)
        if not same_grid(scan.shape, scan.affine, truth.shape, truth.affine):
            raise InputError(f"does not lie on the grid of {source.name}", reference)
        try:
            common_factors([scan, truth])
        except InputError as error:
            raise InputError(f"does not go with {source.name}: {error.cause}", reference) from error
        del scan
    if not many:
        check_target(output_path(source, output), overwrite, SERIES_FILES)
        if report:
            check_target(page_path(output_path(source, output)), overwrite)
    part = share_of_work() if many and share else Share()
    denoiser = Denoiser.from_pretrained(model, part.device(device), precision)

    def after(volume: "Volume", result: "Restoration", manifest: dict[str, Any], target: Path) -> None:
        if report:
            # What a stopped batch left without its manifest is made again.
            again = overwrite or many
            page_of_restoration(
                volume,
                result,
                manifest,
                target,
                reference=truth,
                keep_identity=keep_identity,
                overwrite=again,
            )

    if not many:
        with _Bar(source.name) as bar:
            denoise_file(denoiser, source, output, options, bar.update, say, after)
        print(output_path(source, output))
        return
    if part.world > 1:
        ours = sum(part.mine(number) for number in range(len(scans)))
        say(f"process {part.rank + 1} of {part.world}: {ours} of {len(scans)} scans")
    bars: list[_Bar] = []

    def bar_of(name: str) -> "_Bar":
        bars.append(_Bar(name))
        return bars[-1]

    result = denoise_many(
        denoiser, source, scans, output, options, lambda name: bar_of(name).update, say, after, part
    )
    for path in result.done:
        print(batch_target(path, source, output))
    if result.skipped:
        say(f"{len(result.skipped)} done before and kept")
    if result.otherwise:
        count = len(result.otherwise)
        say(f"{count} of these by another model or with other options: --overwrite makes them anew")
    if part.world > 1:
        end_together()
    if result.failed:
        for path, cause in result.failed:
            say(f"failed: {path}: {cause.removeprefix(f'{path}: ')}")
        tried = sum(part.mine(number) for number in range(len(scans)))
        raise PartialFailure(f"{len(result.failed)} of {tried} scans failed")


class _Bar:
    """A progress bar with the time left, on stderr where that is a terminal; silent elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._progress = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._progress.add_task(name, total=None)
            self._progress.start()

    def update(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)
            if done == total:
                self._progress.stop()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
