# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out/demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --progress-bar on -c constraints.txt
PINS := pyproject.toml constraints.txt

.PHONY: help setup demo test test-slow check format bench specimen specimen-smoke clean
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vlm-surgery needs Python 3.11 or later; $$($(PYTHON) --version 2>&1) was found. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "[1/3] making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch goes first and alone: an unpinned one may bring several GB of CUDA packages along.
$(VENV)/.core: $(BIN)/python $(PINS)
	@echo "[2/3] installing PyTorch (200 MB, about a minute)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "[3/3] installing vlm-surgery and the libraries it stands on (about two minutes)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "[+] installing the test and lint tools"
	@$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.train: $(VENV)/.core
	@echo "[+] installing TRL"
	@$(PIP) --editable '.[train]'
	@touch $@

setup: $(VENV)/.dev ## make .venv with everything for development

demo: $(VENV)/.core ## the paper's six variants of the specimen merged and scored; its updates measured, its layers probed
	@$(BIN)/surgery demo --out $(OUT)

test: $(VENV)/.dev ## the tests, but for the slow ones
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.dev ## the slow tests
	@$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev ## lint, format, types and the layers of the design
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure speed and memory beside cp, mergekit, numpy, svdvals, plain generate and one layer at a time; writes bench.json
	@$(BIN)/python -m tests.bench --out bench.json

specimen: $(VENV)/.train ## train the specimen family anew, controls and all, and measure it (about 80 minutes on two cores)
	@$(BIN)/python -m tests.specimen.training.train --out out/specimen

specimen-smoke: $(VENV)/.train ## the same at toy length, to see that it runs (under 3 minutes)
	@$(BIN)/python -m tests.specimen.training.train --out out/specimen-smoke --seeds 1 --smoke

clean: ## remove the environment and everything made
	rm -rf $(VENV) out build dist bench.json .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
