"""`mapdiff benchmark`: from cohorts to tables; and what this machine makes of it (`--speed`)."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

#: Of a Quadra scan: what --speed measures unless it is told otherwise.
SLICES, PLANE = 644, 440


def benchmark(
    plan: Annotated[
        Path, typer.Option("--plan", help="What to run: cohorts, methods, input doses; JSON.")
    ] = Path("benchmarks/plan.json"),
    work: Annotated[
        Path, typer.Option("--work", help="Folder of cohorts, models and what is done so far.")
    ] = Path("runs/benchmark"),
    results: Annotated[
        Path, typer.Option("-o", "--output", help="The results' file, JSON; replaced.")
    ] = Path("benchmarks/results/benchmark.json"),
    shared: Annotated[
        Path | None, typer.Option("--shared", help="Folder that the plan's real scans lie in.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Page whose tables are written, docs/benchmark.md.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="The plan's named subjects and quick entries; compares with the committed values."
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="An entry of the plan, such as 'unet' or 'ddpm-ddim-50'; may be told several times. "
            "The rows of the others stay as they are in the results' file.",
        ),
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(
            "--subject",
            help="A subject, such as 'internal-4-mm/sub-001', by all entries of the plan; may be told "
            "several times. The values of the others stay as they are in the results' file.",
        ),
    ] = None,
    tables: Annotated[
        bool,
        typer.Option(
            "--tables",
            help="Run nothing: means, intervals and tables anew from the values in the results' file.",
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(help="Processes that share the subjects.")] = 1,
    speed: Annotated[
        bool, typer.Option("--speed", help="Measure time and memory on synthetic scans of four sizes.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    model: Annotated[
        str, typer.Option(help="A model that ships with mapdiff, or a model file.")
    ] = "map-diff",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="bf16, float32, or auto: bf16 where the processor has it.")
    ] = "auto",
    slices: Annotated[
        int, typer.Option(help="Slices of the largest scan; the others have 1/8, 1/4 and 1/2 of them.")
    ] = SLICES,
    plane: Annotated[int, typer.Option(help="Edge of a slice, voxels.")] = PLANE,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Restore every test subject by every method of a plan, measure, and write tables; run again, it goes on.

    Cohorts that are not there are simulated. Each restored scan's figures are kept in a file of their own.

    With --speed instead: seconds and memory on this machine by size of the scan, against the processor's own
    peak. Each scan is denoised from file to file in a process of its own. The time of 1000 steps of the same
    network is extrapolated from the evaluations that were measured.
    """

    from mapdiff.errors import InputError

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if not speed:
        of_speed = {"--json": json_file, "--slices": slices != SLICES, "--plane": plane != PLANE}
        if given := [option for option, told in of_speed.items() if told]:
            raise InputError(f"{given[0]} goes with --speed")
        if jobs < 1:
            raise InputError(f"--jobs {jobs}: at least 1")
        if quick and only:
            raise InputError("--quick and --only: a quick run has the plan's quick entries")
        if subject and (quick or only):
            raise InputError("--subject: by all of the plan's entries, without --quick and --only")
        from mapdiff.evaluation.benchmark.evidence import rewrite, run_evidence

        if tables:
            print(rewrite(results, page))
            return
        print(run_evidence(plan, work, results, shared, page, quick, say, jobs, only or (), subject or ()))
        return
    from mapdiff.atomic import check_target, written_aside
    from mapdiff.inference.speed import benchmark_speed

    if slices < 16 or plane < 32:
        raise InputError(f"--slices {slices} --plane {plane}: 16 and 32 at least")
    if json_file is not None:
        check_target(json_file, overwrite)

    found = benchmark_speed(model, device, precision, slices, plane, say)
    largest = [run for run in found["runs"] if not run["fast"]][-1]
    growth, ddpm = found["growth"], found["ddpm_1000_steps_extrapolated"]
    added = max(growth["bytes_per_added_voxel"])
    print(f"network: {largest['network_share_of_peak']:.0%} of the conv3d peak, "
          f"{largest['end_to_end_share_of_peak']:.0%} from file to file")  # fmt: skip
    print(f"growth: {growth['fixed_seconds']:.1f} s and {growth['seconds_per_million_body_voxels']:.2f} s "
          f"per million body voxels (within {growth['largest_deviation']:.0%}), "
          f"{growth['bytes_per_voxel']:.1f} bytes per voxel "
          f"({added:.1f} at most over the smallest)")  # fmt: skip
    print(f"1000 steps of the same network: {ddpm['seconds'] / 3600:.1f} hours, {ddpm['times_slower']:.0f} "
          f"times as long (extrapolated)")  # fmt: skip
    if json_file is not None:
        with written_aside(json_file) as aside:
            aside.write_text(json.dumps(found, indent=1))
        print(json_file)
