"""How long a simulated subject takes, and how much memory: a training slab and a whole Quadra scan.

    python benchmarks/simulation_speed.py --work runs/speed

Each is made by the command people use, in a process of its own, on two cores; the figures are its wall time
and the most memory it held.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

#: Name, arguments, and the bound in seconds and GB.
RUNS = {
    "slab": (["--slab", "96", "--spacing", "1.65"], 40.0, 8.0),
    "whole": ([], 600.0, 8.0),
}


def main() -> None:
    """Run, measure, print, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", choices=list(RUNS))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/simulation_speed.json"))
    arguments = parser.parse_args()
    found = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    for name in [arguments.only] if arguments.only else RUNS:
        words, seconds, gigabytes = RUNS[name]
        target = arguments.work / f"{name}-{int(time.time())}"
        started = time.monotonic()
        command = [sys.executable, "-m", "mapdiff", "simulate", "-o", str(target), "--seed", "3", *words]
        subprocess.run(command, check=True, stdout=sys.stderr)
        took = time.monotonic() - started
        # The largest of the children so far: the slab runs first, and is the smaller.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e9
        found[name] = {
            "seconds": round(took, 1),
            "peak_gb": round(peak, 2),
            "written_gb": round(size, 2),
            "load_before": round(os.getloadavg()[2], 1),
        }
        print(
            f"{name}: {took:.0f} s (bound {seconds:.0f}), {peak:.1f} GB (bound {gigabytes:.0f}), "
            f"load {found[name]['load_before']}"
        )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
