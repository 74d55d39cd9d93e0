#!/usr/bin/env bash
# How the models that docs/benchmark.md compares are made: one network size, one set of training subjects, the
# same number of optimiser steps for all, twice as many for ddpm. Then the benchmark itself. Stopped at any moment,
# it goes on where it was when it is run again. The weights in benchmarks/weights, and the tables, were made by it.
#   bash recipes/benchmark.sh WORK SHARED
# WORK gets cohorts, stores, runs and results; SHARED is the folder that the plan's real scans lie in.
set -euo pipefail
work=${1:?a folder for cohorts, runs and results}
shared=${2:?the folder that holds the real scans}
steps=${STEPS:-2400}
mkdir -p "$work/trained" "$work/weights"

bash "$(dirname "$0")/training-stores.sh" "$work/train"

train() { # RUN METHOD SEED STEPS, further options
  local run=$1 method=$2 seed=$3 n=$4
  shift 4
  mapdiff train "$work"/train/*.store -o "$work/trained/$run" --method "$method" --seed "$seed" --steps "$n" \
    --channels 32,48,64 --blocks 3,1,1 --learning-rate 2.5e-3 --patch 32 --batch 8 --checkpoint-every 400 \
    --calibration "$work/train/calibration.json" "$@"
  # Anew each time: a run that was stopped and went on has other weights.
  mapdiff export "$work/trained/$run" -o "$work/weights/$run.safetensors" --overwrite
}
train map-diff map-diff 0 "$steps"
train unet unet 0 "$steps"
# By validation ddpm is better with few large patches, map-diff, unet and gan with many small ones (docs/rivals.md).
train ddpm ddpm 0 $((2 * steps)) --checkpoint-every 1600 --patch 48 --batch 2
train ddpm-patches-32 ddpm 0 $((2 * steps)) --checkpoint-every 1600
train gan gan 0 "$steps"
# Depths of two, since every second of its blocks shifts the windows; patches of 64, which it would pad smaller ones to, so
# that a step takes a tenth more operations than the others'. The learning rate is the better of two in a short trial
# (docs/experiments.md). In two halves, each with a rate that falls to zero: on two cores with AVX2 only each takes more than an hour.
swin=(--blocks 2,2,2 --patch 64 --batch 2 --learning-rate 1.5e-3 --checkpoint-every 200)
train swin-unetr-half swin-unetr 0 $((steps / 2)) "${swin[@]}"
train swin-unetr swin-unetr 1 $((steps / 2)) "${swin[@]}" --init "$work/weights/swin-unetr-half.safetensors"
for seed in 1 2; do
  train map-diff-seed-$seed map-diff $seed "$steps"
  train unet-seed-$seed unet $seed "$steps"
done
mapdiff benchmark --plan "$(dirname "$0")/../benchmarks/plan.json" --work "$work" --shared "$shared" --page docs/benchmark.md
