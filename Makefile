# Everything runs in .venv, created by the first target that needs it.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out/demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --progress-bar on -c constraints.txt
PINS := pyproject.toml constraints.txt

.PHONY: help setup demo test test-slow check format bench specimen specimen-smoke clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vlm-surgery needs Python 3.11 or later, not $$($(PYTHON) --version 2>&1). Use another interpreter: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "[1/3] creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch is installed first and pinned: an unpinned torch may install several GB of CUDA packages.
$(VENV)/.core: $(BIN)/python $(PINS)
	@echo "[2/3] installing PyTorch (200 MB, about a minute)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "[3/3] installing vlm-surgery and its dependencies (about two minutes)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "[+] installing test and lint tools"
	@$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.train: $(VENV)/.core
	@echo "[+] installing TRL"
	@$(PIP) --editable '.[train]'
	@touch $@

setup: $(VENV)/.dev ## create .venv with all development tools

demo: $(VENV)/.core ## merge and score the paper's six variants of the specimen; measure its updates, probe its layers
	@$(BIN)/surgery demo --out $(OUT)

test: $(VENV)/.dev ## run all tests except the slow tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.dev ## run the slow tests
	@$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev ## check lint, format, types, layers, structure and language
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_contracts.py tests/test_language.py tests/test_reference.py

format: $(VENV)/.dev ## fix lint and format with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## compare speed and memory with cp, mergekit, numpy, torch and plain generate; writes bench.json
	@$(BIN)/python -m tests.bench --out bench.json

specimen: $(VENV)/.train ## train and evaluate the specimen family with its controls (about 80 minutes on two cores)
	@$(BIN)/python -m tests.specimen.training.train --out out/specimen

specimen-smoke: $(VENV)/.train ## a short version of specimen (under 3 minutes)
	@$(BIN)/python -m tests.specimen.training.train --out out/specimen-smoke --seeds 1 --smoke

clean: ## remove the environment and all generated files
	rm -rf $(VENV) out build dist bench.json .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
