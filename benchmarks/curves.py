"""The learning curves of the runs that the benchmark compares: what each was trained for, and how it went.

    python benchmarks/curves.py --work WORK
    python benchmarks/curves.py --work WORK --runs ablations --json benchmarks/results/ablation-curves.json

Reads WORK/trained/*/log.csv, writes benchmarks/results/curves.json and docs/images/learning-curves.png; of
runs in another folder the JSON file only. Runs that the JSON file has and WORK has not are kept. A run NAME
that goes on from a run NAME-half is drawn behind it.
"""

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from mapdiff.methods.model_file import load_model, parameters
from mapdiff.report.plots import OKABE_ITO, new_figure


def curve_of(run: Path) -> dict[str, Any]:
    """Steps, validation PSNR and training seconds of a run, with what was trained."""
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    model = load_model(run / "best.safetensors")
    settings = ("steps", "batch", "patch", "learning_rate", "seed", "channels", "blocks")
    return {
        "method": model.method,
        "parameters": parameters(model.net),
        **{name: model.training.get(name) for name in settings},
        "step": [int(row["step"]) for row in rows],
        "validation_psnr_db": [round(float(row["psnr"]), 3) for row in rows],
        "hours": round(float(rows[-1]["seconds"]) / 3600, 3),
    }


def draw(curves: dict[str, dict[str, Any]], path: Path) -> None:
    """One line for each run; those of a method share a colour."""
    figure, grid = new_figure(8.5, 4.2)
    axes = grid[0][0]
    methods = list(dict.fromkeys(str(curve["method"]) for curve in curves.values()))
    drawn: Counter[str] = Counter()
    for name, curve in curves.items():
        method = str(curve["method"])
        colour = OKABE_ITO[methods.index(method) % len(OKABE_ITO)]
        style = ("-", "--", ":")[drawn[method] % 3]
        drawn[method] += 1
        before = curves[f"{name}-half"]["steps"] if f"{name}-half" in curves else 0
        steps = [before + step for step in curve["step"]]
        axes.plot(steps, curve["validation_psnr_db"], style, color=colour, label=name, marker=".")
    axes.set(
        xlabel="optimiser step",
        ylabel="validation PSNR, dB",
        title="The method's own sampler on held-out boxes at 1/20, against the truth",
    )
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Collect, print, and write the JSON file and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--runs", default="trained", help="the runs' folder below WORK")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/curves.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/learning-curves.png"))
    arguments = parser.parse_args()
    runs = sorted(log.parent for log in arguments.work.glob(f"{arguments.runs}/*/log.csv"))
    found = {run.name: curve_of(run) for run in runs}
    known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    curves = dict(sorted({**known, **found}.items()))
    for name, curve in curves.items():
        print(f"{name}: {curve['parameters']} weights, {curve['steps']} steps, {curve['hours']} hours")
    arguments.json.write_text(json.dumps(curves, indent=1) + "\n")
    if arguments.runs == "trained":
        draw(curves, arguments.picture)


if __name__ == "__main__":
    main()
