# The habits. Everything runs in .venv, which is made at first need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-all lint format bench bench-quick bench-detection bench-simulation docs clean

.venv/installed: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/mapdiff demo -o demo --overwrite

test: .venv/installed
	$(BIN)/pytest -m "not slow"

test-slow: .venv/installed
	$(BIN)/pytest -m slow

test-all: .venv/installed
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Figures of the shipped model, real and simulated: benchmarks/results/shipped.json, limit.json and docs/benchmark.md.
bench: .venv/installed
	$(BIN)/python benchmarks/shipped.py --shared ../shared/data --work runs/bench --docs docs/benchmark.md
	$(BIN)/python benchmarks/limit.py --shared ../shared/data --work runs/bench

# Map-diff and the U-Net: two subjects of each cohort at 4 mm and two real scans restored anew, against the committed values.
bench-quick: .venv/installed
	$(BIN)/mapdiff benchmark --quick --work runs/benchmark --shared ../shared

# Lesions in livers, seen by an observer before and after: benchmarks/results/detection.json and docs/detectability.md.
bench-detection: .venv/installed
	$(BIN)/mapdiff benchmark --plan benchmarks/detection.json --work runs/detection -o benchmarks/results/detection.json --page docs/detectability.md

# The simulator beside the real scanners: noise (twenty minutes; goes on where it stopped), physics, speed.
bench-simulation: .venv/installed
	$(BIN)/python benchmarks/noise.py --shared ../shared/data --work runs/noise
	$(BIN)/python benchmarks/physics.py
	$(BIN)/python benchmarks/simulation_speed.py --work runs/speed

# Pictures of the docs, with the model that ships; needs chromium and chromedriver.
docs: demo
	cp demo/picture.png docs/images/demo.png
	$(BIN)/python docs/bodies.py --work runs/bodies
	$(BIN)/python docs/pictures.py --shared ../shared --work runs/docs

clean:
	rm -rf .venv build dist demo
