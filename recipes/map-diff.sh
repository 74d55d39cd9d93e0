#!/usr/bin/env bash
# How the weights in src/mapdiff/weights/map-diff.safetensors were made. Two cores with bfloat16: half an hour of
# simulation, then a training of an hour and a half on one of them. Stopped at any moment, it goes on where it was
# when it is run again. The weights that ship are those of step 6,750 of this run, the best by validation when it was
# ended there. On other processors roundings differ, and with them the weights in their last digits.
#   bash recipes/map-diff.sh RUNS
set -euo pipefail
runs=${1:?a folder for cohorts and run}
bash "$(dirname "$0")/training-stores.sh" "$runs/train"
mapdiff train "$runs"/train/*.store -o "$runs/shipping" --steps 7500 --checkpoint-every 250 \
  --calibration "$runs/train/calibration.json"
mapdiff export "$runs/shipping" -o "$runs/map-diff.safetensors" --overwrite
