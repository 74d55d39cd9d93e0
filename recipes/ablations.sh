#!/usr/bin/env bash
# What each part of the method is worth, at one small budget: the models of docs/ablations.md (24-32-48 channels, 2, 1
# and 1 blocks, 1,200 steps; ddpm 2,400): about two hours of one core with AVX512. Then tables of test bodies, which have
# not been made yet. Stopped at any moment, it goes on where it was when it is run again. The models are not committed.
#   bash recipes/ablations.sh WORK
set -euo pipefail
work=${1:?a folder for cohorts, runs and results}
here=$(dirname "$0")
steps=${STEPS:-1200}
mkdir -p "$work/ablations"

bash "$here/training-stores.sh" "$work/train"

train() { # RUN METHOD SEED STEPS
  mapdiff train "$work"/train/*.store -o "$work/ablations/$1" --method "$2" --seed "$3" --steps "$4" \
    --channels 24,32,48 --blocks 2,1,1 --patch 48 --batch 2 --calibration "$work/train/calibration.json" --checkpoint-every "$4"
  mapdiff export "$work/ablations/$1" -o "$work/ablations/$1.safetensors" --overwrite
}
for method in map-diff map-diff-no-anchors map-diff-no-own-stages unet map-diff-paper map-diff-paper-no-anchors \
  map-diff-paper-even map-diff-paper-unweighted map-diff-paper-from-noise; do
  train $method $method 0 "$steps"
done
train map-diff-seed-1 map-diff 1 "$steps"
train ddpm ddpm 0 $((2 * steps))
mapdiff benchmark --plan "$here/../benchmarks/ablations.json" --work "$work" --page "$here/../docs/ablations.md" \
  -o "$here/../benchmarks/results/ablations.json"
