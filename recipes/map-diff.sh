#!/usr/bin/env bash
# How the weights in src/mapdiff/weights/map-diff.safetensors were made: the weights that shipped before them (commit
# 00a5fd4 and its recipe: 8,250 steps with two patches of 48^3 on two sets of slabs), whose residual blocks at the
# coarser resolutions had died, without these blocks and with one more at the finest resolution each way, trained on
# with many small patches; those of the best validation. Two cores with AMX: twenty minutes of simulation, then an
# hour of one. Stopped at any moment, it goes on where it was when it is run again. On other processors roundings
# differ, and with them the weights in their last digits.
#   bash recipes/map-diff.sh RUNS
set -euo pipefail
runs=${1:?a folder for cohorts and run}
here=$(dirname "$0")
bash "$here/training-stores.sh" "$runs/train"
git -C "$here" show 00a5fd4:./../src/mapdiff/weights/map-diff.safetensors > "$runs/before.safetensors"
python "$here/reshape.py" "$runs/before.safetensors" 3,0,0 "$runs/start.safetensors"
mapdiff train "$runs"/train/*.store -o "$runs/shipping" --steps 2400 --patch 32 --batch 8 \
  --init "$runs/start.safetensors" --learning-rate 8e-4 --calibration "$runs/train/calibration.json"
mapdiff export "$runs/shipping" -o "$runs/map-diff.safetensors" --overwrite
