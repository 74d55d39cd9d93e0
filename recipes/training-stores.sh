#!/usr/bin/env bash
# The training subjects of both recipes as stores that training reads, and the calibration: 132 slabs of scanners that
# no preset is. Four are too noisy to be packed; of the rest two of each store validate and 118 are trained on. About
# half an hour on two cores; goes on where it was stopped.
#   bash recipes/training-stores.sh TRAIN
set -euo pipefail
train=${1:?a folder for cohorts and stores}
mkdir -p "$train"

# Scanners that no preset is (`varied`); the calibration is the Quadra's, whose doses the stages are named by.
make_store() { # NAME, options of simulate
  local name=$1
  shift
  mapdiff simulate -o "$train/$name" --scanner varied "$@"
  if [ ! -e "$train/$name.store" ]; then
    # Exit code 3: subjects with more noise than a patch can teach are left out, and said to be.
    mapdiff pack "$train/$name" -o "$train/$name.store" || [ $? = 3 ]
  fi
}
make_store coarse --subjects 14 --spacing 4.69,4.69,3.27 --slab 80 --seed 51
make_store middle --subjects 16 --spacing 4,4,4 --slab 80 --seed 63
make_store fine-1 --subjects 16 --slab 64 --seed 52
make_store fine-2 --subjects 50 --slab 64 --seed 61
make_store fine-3 --subjects 36 --slab 64 --seed 62
mapdiff simulate -o "$train/quadra" --subjects 8 --scanner quadra-psf --slab 48 --seed 23
if [ ! -e "$train/calibration.json" ]; then
  mapdiff calibrate "$train/quadra" -o "$train/calibration.json"
fi
