#!/usr/bin/env bash
# How the models that docs/benchmark.md compares were made: one network size, one set of training subjects, the
# same number of optimiser steps for all, twice as many for ddpm. Then the benchmark itself. Stopped at any moment,
# it goes on where it was when it is run again. The weights in benchmarks/weights, and the tables, were made by it at
# commit 938882d: trained by AdamW, on networks that did not take off local means.
#   bash recipes/benchmark.sh WORK SHARED
# WORK gets cohorts, stores, runs and results; SHARED is the folder that the plan's real scans lie in.
set -euo pipefail
work=${1:?a folder for cohorts, runs and results}
shared=${2:?the folder that holds the real scans}
steps=${STEPS:-3000}
mkdir -p "$work/train" "$work/trained" "$work/weights"

# Scanners that no preset is (`varied`); the calibration is the Quadra's, whose doses the stages are named by.
make_store() { # NAME, options of simulate
  local name=$1
  shift
  mapdiff simulate -o "$work/train/$name" --scanner varied "$@"
  if [ ! -e "$work/train/$name.store" ]; then
    # Exit code 3: subjects with more noise than a patch can teach are left out, and said to be.
    mapdiff pack "$work/train/$name" -o "$work/train/$name.store" || [ $? = 3 ]
  fi
}
make_store coarse --subjects 14 --spacing 4.69,4.69,3.27 --slab 80 --seed 51
make_store middle --subjects 16 --spacing 4,4,4 --slab 80 --seed 63
make_store fine-1 --subjects 16 --slab 64 --seed 52
make_store fine-2 --subjects 50 --slab 64 --seed 61
make_store fine-3 --subjects 36 --slab 64 --seed 62
mapdiff simulate -o "$work/train/quadra" --subjects 8 --scanner quadra --slab 48 --seed 23
if [ ! -e "$work/train/calibration.json" ]; then
  mapdiff calibrate "$work/train/quadra" -o "$work/train/calibration.json"
fi

train() { # RUN METHOD SEED STEPS, further options
  local run=$1 method=$2 seed=$3 n=$4
  shift 4
  mapdiff train "$work"/train/*.store -o "$work/trained/$run" --method "$method" --seed "$seed" --steps "$n" \
    --channels 48,96,128 --calibration "$work/train/calibration.json" "$@"
  # Anew each time: a run that was stopped and went on has other weights.
  mapdiff export "$work/trained/$run" -o "$work/weights/$run.safetensors" --overwrite
}
train map-diff map-diff 0 "$steps"
train unet unet 0 "$steps"
train ddpm ddpm 0 $((2 * steps)) --checkpoint-every 1000
train gan gan 0 "$steps"
train swin-unetr swin-unetr 0 "$steps" --patch 64 --learning-rate 5e-4
for seed in 1 2; do
  train map-diff-seed-$seed map-diff $seed "$steps"
  train unet-seed-$seed unet $seed "$steps"
done
mapdiff benchmark --work "$work" --shared "$shared" --page docs/benchmark.md
