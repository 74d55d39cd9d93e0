#!/usr/bin/env bash
# How the weights in src/mapdiff/weights/map-diff.safetensors were made. Two cores with bfloat16: half an hour of
# simulation, then two trainings of an hour and a half each at most. Stopped at any moment, it goes on where it
# was when it is run again.
#   bash recipes/map-diff.sh RUNS
# The weights that ship differ from what this makes in four ways: their first training was ended at step 4,750 of
# 7,500; all their cohorts were drawn by earlier simulators (the first two by that of commit e357a07, before the
# presets had the real scanners' noise; the others by that of commit a2158b0, before training scanners were drawn by
# their noise and some of them with time of flight); inputs were drawn by their dose, not by their noise level; and
# patches were drawn by the loop of commit e357a07, which has other random numbers.
set -euo pipefail
runs=${1:?a folder for cohorts and run}
mkdir -p "$runs"
# Trained on scanners that no preset is; calibrated on the Quadra, whose doses the stages are then named by.
mapdiff simulate -o "$runs/varied-a" --subjects 45 --scanner varied --slab 64 --seed 21
mapdiff simulate -o "$runs/varied-b" --subjects 68 --scanner varied --slab 64 --seed 22
mapdiff simulate -o "$runs/varied-c" --subjects 40 --scanner varied --slab 64 --seed 31
mapdiff simulate -o "$runs/varied-d" --subjects 45 --scanner varied --slab 64 --seed 32
mapdiff simulate -o "$runs/quadra" --subjects 8 --scanner quadra --slab 48 --seed 23
if [ ! -e "$runs/calibration.json" ]; then
  mapdiff calibrate "$runs/quadra" -o "$runs/calibration.json"
fi
mapdiff train "$runs/varied-a" "$runs/varied-b" -o "$runs/first" --steps 7500 --checkpoint-every 250
mapdiff train "$runs/varied-c" "$runs/varied-d" -o "$runs/second" --init "$runs/first/best.safetensors" \
  --learning-rate 6e-4 --steps 4000 --checkpoint-every 250
mapdiff export "$runs/second" -o "$runs/map-diff.safetensors" --calibration "$runs/calibration.json" --overwrite
