#!/usr/bin/env bash
# How the weights in src/mapdiff/weights/map-diff.safetensors were made: the weights that shipped before them (commit
# 00a5fd4 and its recipe: 8,250 steps with two patches of 48^3 on two sets of slabs), whose residual blocks at the
# coarser resolutions had died, without these blocks, trained on with many small patches. Another block at the finest
# resolution each way was added for it and died too, so it is left out again. The weights are those of the last step,
# which restored four bodies of other seeds .04 to .06 dB better than those of the best validation
# (docs/experiments.md). Two cores with AMX: twenty minutes of simulation, then some fifty. Stopped at any moment, it
# goes on where it was when it is run again. On other processors roundings differ, and with them the weights in their
# last digits.
#   bash recipes/map-diff.sh RUNS
set -euo pipefail
runs=${1:?a folder for cohorts and run}
here=$(dirname "$0")
bash "$here/training-stores.sh" "$runs/train"
git -C "$here" show 00a5fd4:./../src/mapdiff/weights/map-diff.safetensors > "$runs/before.safetensors"
python "$here/reshape.py" "$runs/before.safetensors" 3,0,0 "$runs/start.safetensors"
mapdiff train "$runs"/train/*.store -o "$runs/shipping" --steps 2400 --patch 32 --batch 8 \
  --init "$runs/start.safetensors" --learning-rate 8e-4 --calibration "$runs/train/calibration.json"
python "$here/reshape.py" "$runs/shipping/model.safetensors" 2,0,0 "$runs/pruned.safetensors"
mapdiff export "$runs/pruned.safetensors" -o "$runs/map-diff.safetensors" --overwrite
