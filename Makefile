# Everything runs in a virtual environment of its own; a bare machine needs Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow check benchmark benchmark-speed setup clean

demo: $(STAMP)  ## fixed against adaptive loss weights on Klein-Gordon, with pictures
	$(BIN)/poise compare klein-gordon --recipes fixed,annealing --seeds 3 --steps 40001

test: check  ## what CI runs: lint, format, types, tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

benchmark: $(STAMP)  ## everything in benchmarks/RESULTS.md: hours on two cores
	$(BIN)/python benchmarks/published.py
	$(BIN)/python benchmarks/depth.py
	$(BIN)/python benchmarks/depth.py --alone --only kdv
	$(BIN)/python benchmarks/depth.py --recipe fixed --seeds 3
	$(BIN)/python benchmarks/depth.py --recipe annealing --seeds 3
	$(BIN)/python benchmarks/rules.py
	$(BIN)/python benchmarks/weightings.py rules
	$(BIN)/python benchmarks/weightings.py statistics
	$(BIN)/python benchmarks/ntk_wave.py
	$(BIN)/python benchmarks/side_by_side.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/results.py

setup: $(STAMP)  ## the development environment, with the pre-commit hook
	$(BIN)/pre-commit install

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "poise needs Python 3.11 or newer; say which with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
