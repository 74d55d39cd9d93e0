#!/usr/bin/env bash
# How the weights in src/mapdiff/weights/map-diff.safetensors were made. Two cores with bfloat16: an hour of
# simulation, then four trainings, three and a half hours in all. Stopped at any moment, it goes on where it was
# when it is run again.
#   bash recipes/map-diff.sh RUNS
# The weights that ship differ from what this makes in their past:
# - their first training was ended at step 4,750 of 7,500, the third at 6,250 of 7,000;
# - the first two trainings drew patches and doses by the loop of commit e357a07 on cohorts of its simulator (seeds
#   21, 22, 31 and 32), of which the last two stand for "varied-a" and "varied-b" here;
# - the scanners of "varied-c" to "varied-f" were drawn without time of flight (commit 7d17a89).
# Training went on on one core of two, in bfloat16.
set -euo pipefail
runs=${1:?a folder for cohorts and run}
mkdir -p "$runs"
# Trained on scanners that no preset is, half of the bodies on the voxels of common scanners; calibrated on the
# Quadra, whose doses the stages are then named by.
mapdiff simulate -o "$runs/varied-a" --subjects 40 --scanner varied --slab 64 --seed 31
mapdiff simulate -o "$runs/varied-b" --subjects 45 --scanner varied --slab 64 --seed 32
mapdiff simulate -o "$runs/varied-c" --subjects 36 --scanner varied --slab 64 --seed 41
mapdiff simulate -o "$runs/varied-d" --subjects 24 --scanner varied --slab 80 --seed 42 --spacing 4.07,4.07,3
mapdiff simulate -o "$runs/varied-e" --subjects 40 --scanner varied --slab 80 --seed 43 --spacing 4.69,4.69,3.27
mapdiff simulate -o "$runs/varied-f" --subjects 20 --scanner varied --slab 80 --seed 44 --spacing 5.3,5.3,4
mapdiff simulate -o "$runs/varied-g" --subjects 14 --scanner varied --slab 80 --seed 51 --spacing 4.69,4.69,3.27
mapdiff simulate -o "$runs/varied-h" --subjects 16 --scanner varied --slab 64 --seed 52
mapdiff simulate -o "$runs/quadra" --subjects 8 --scanner quadra --slab 48 --seed 23
if [ ! -e "$runs/calibration.json" ]; then
  mapdiff calibrate "$runs/quadra" -o "$runs/calibration.json"
fi
for cohort in a b c d e f g h; do
  # Leaves out, and says so, bodies whose lowest dose is nothing but noise; exit code 3 then.
  mapdiff pack "$runs/varied-$cohort" -o "$runs/stores/$cohort" || [ $? = 3 ]
done
stores=("$runs"/stores/[a-h])
mapdiff train "${stores[@]:0:2}" -o "$runs/first" --steps 7500 --checkpoint-every 250
mapdiff train "${stores[@]:0:2}" -o "$runs/second" --init "$runs/first/best.safetensors" \
  --learning-rate 6e-4 --steps 4000 --checkpoint-every 250
mapdiff train "${stores[@]:0:6}" -o "$runs/third" --init "$runs/second/model.safetensors" --validation 1 --seed 3 \
  --learning-rate 8e-4 --steps 7000 --checkpoint-every 250 --calibration "$runs/calibration.json"
mapdiff train "${stores[@]}" -o "$runs/fourth" --init "$runs/third/model.safetensors" --validation 1 --seed 4 \
  --learning-rate 3e-4 --steps 1500 --checkpoint-every 250 --calibration "$runs/calibration.json"
mapdiff export "$runs/fourth" -o "$runs/map-diff.safetensors" --calibration "$runs/calibration.json" --overwrite
