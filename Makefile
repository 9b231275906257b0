# Everything a newcomer needs: `make demo`, `make test`. Each sets up its own environment in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= train,tune,export,server,ray,dev
UV_VERSION := 0.13.8
STAMP := $(VENV)/.installed-$(EXTRAS)
export UV_SYSTEM_CERTS ?= 1
export NO_ALBUMENTATIONS_UPDATE ?= 1
# Waiting threads give the core away; two spinning threads beside a busy neighbour are slower than one.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help install demo test test-slow test-network test-all check format lint types constraints clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

install: $(STAMP)  ## the environment in .venv, with the pinned, tested packages

$(VENV)/.installed-%: setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] < (3, 14) else f"Python 3.10 to 3.13 is needed, found {sys.version.split()[0]}; choose one: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (about 7 GB; minutes, depending on the network)"
	@$(BIN)/python -m pip install -q "uv==$(UV_VERSION)" && \
	 $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e ".[$*]" || \
	 $(BIN)/python -m pip install -c constraints.txt -e ".[$*]"
	@touch $@

demo: $(STAMP)  ## train, export, verify and run a small detector on a generated video, in minutes
	@$(BIN)/python tools/demo.py

test: $(STAMP)  ## the tests that every change runs
	@$(BIN)/python -m pytest -m "not slow and not network and not gpu"

test-slow: $(STAMP) $(VENV)/.installed-track $(VENV)/.installed-tensorflow  ## conversions of every architecture, DDP, resume, trackers, kill -9, TensorFlow
	@$(BIN)/python -m pytest -m "slow and not network and not gpu"

test-network: $(STAMP)  ## the device folder alone in fresh environments and on an emulated Raspberry Pi (installs packages)
	@$(BIN)/python -m pytest -m "network and not gpu"

test-all: test test-slow test-network  ## all of the above

lint: $(STAMP)  ## formatting and lint, without changing anything
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: $(STAMP)  ## format and mend what can be mended by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: $(STAMP)  ## static types, strict for the device runtime, the server and the config
	@$(BIN)/mypy -p cvforge_edge -p cvforge_server -p cvforge.config -m cvforge.errors -m cvforge.cli

check: lint types test  ## what every change must pass; CI runs it too

constraints: $(STAMP)  ## pin the newest versions that the ranges of setup.py allow, for every supported Python
	@$(BIN)/uv pip compile -q --universal --python-version 3.10 --no-annotate --no-header --upgrade \
	 --extra train --extra tune --extra export --extra server --extra ray --extra tensorflow --extra track --extra dev setup.py -o constraints.txt

clean:  ## remove the environment and caches; runs and bundles stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
