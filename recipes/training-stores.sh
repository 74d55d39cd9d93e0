#!/usr/bin/env bash
# The training subjects of the recipes as stores that training reads, and the calibration: 128 slabs of scanners that
# no preset is. Those that are too noisy to be packed are left out; of the rest two of each store validate. Twenty
# minutes on two cores; goes on where it was stopped.
#   bash recipes/training-stores.sh TRAIN
set -euo pipefail
train=${1:?a folder for cohorts and stores}
mkdir -p "$train"

# Scanners that no preset is (`varied`); the calibration is the Quadra's, whose doses the stages are named by, at a
# voxel size in the middle of those that scanners have.
make_store() { # NAME, options of simulate
  local name=$1
  shift
  mapdiff simulate -o "$train/$name" --scanner varied "$@"
  if [ ! -e "$train/$name.store" ]; then
    # Exit code 3: subjects with more noise than a patch can teach are left out, and said to be.
    mapdiff pack "$train/$name" -o "$train/$name.store" || [ $? = 3 ]
  fi
}
make_store coarse-1 --subjects 26 --spacing 4.69,4.69,3.27 --slab 80 --seed 71
make_store coarse-2 --subjects 12 --spacing 5.3,5.3,3.27 --slab 80 --seed 72
make_store middle --subjects 20 --spacing 4,4,4 --slab 80 --seed 73
make_store fine-1 --subjects 30 --slab 64 --seed 74
make_store fine-2 --subjects 40 --slab 64 --seed 75
mapdiff simulate -o "$train/quadra" --subjects 8 --scanner quadra --spacing 2.9,2.9,2.9 --slab 48 --seed 23
if [ ! -e "$train/calibration.json" ]; then
  mapdiff calibrate "$train/quadra" -o "$train/calibration.json"
fi
