#!/usr/bin/env bash
# How the weights in src/mapdiff/weights/map-diff.safetensors were made. Two cores: half an hour of simulation,
# then the training. Stopped at any moment, it goes on where it was when it is run again.
#   bash recipes/map-diff.sh RUNS [STEPS]
set -euo pipefail
runs=${1:?a folder for cohorts and run}
steps=${2:-7500}
mkdir -p "$runs"
# Trained on scanners that no preset is; calibrated on the Quadra, whose doses the stages are then named by.
mapdiff simulate -o "$runs/varied-a" --subjects 45 --scanner varied --slab 64 --seed 21
mapdiff simulate -o "$runs/varied-b" --subjects 68 --scanner varied --slab 64 --seed 22
mapdiff simulate -o "$runs/quadra" --subjects 8 --scanner quadra --slab 48 --seed 23
if [ ! -e "$runs/calibration.json" ]; then
  mapdiff calibrate "$runs/quadra" -o "$runs/calibration.json"
fi
mapdiff train "$runs/varied-a" "$runs/varied-b" -o "$runs/map-diff" --steps "$steps" --checkpoint-every 250
mapdiff export "$runs/map-diff" -o "$runs/map-diff.safetensors" --calibration "$runs/calibration.json" --overwrite
