# Everything happens inside this folder: the environment, its caches and temporary files stand under .venv.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PIP_CACHE_DIR := $(VENV)/cache
export TMPDIR := $(CURDIR)/$(VENV)/tmp
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: run test torture bench docs format check install install-dev clean help

run: $(VENV)/installed ## Caption the demo's photographs on the embedded endpoint into out/demo
	@$(BIN)/python -m pipeline run configs/demo.toml
	@$(BIN)/python -m pipeline report out/demo

test: $(VENV)/installed-dev ## Lint, check types, run the whole test suite
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

torture: $(VENV)/installed-dev ## Kill, damage and overlap runs, judged by the server's own log (SEED=1)
	PYTHONPATH=tests $(BIN)/python -m torture --seed $(or $(SEED),1)

bench: $(VENV)/installed-bench ## Measure speed and memory as ratios against peers in the same run (BENCH="images store")
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/installed-dev ## Write the reference from the sources and build the site into build/site
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -W --keep-going -n -q -d build/doctrees docs build/site

format: $(VENV)/installed-dev ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(VENV)/installed-dev ## Lint and check types, without tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(VENV)/installed ## Set up .venv with what a run needs

install-dev: $(VENV)/installed-dev ## Set up .venv with what development needs

clean: ## Remove the environment, caches and the demo's output
	rm -rf $(VENV) out build .mypy_cache .ruff_cache .pytest_cache .hypothesis pipeline.egg-info

help: ## Show these verbs
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r verb text; do \
		printf '%-12s %s\n' "$$verb" "$$text"; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (once, a minute or so)"
	@$(PYTHON) -m venv $(VENV) || { \
		echo "python's venv module is missing; on Debian: apt install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@mkdir -p "$(TMPDIR)"
	@$(INSTALL) --editable '.[vision]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@mkdir -p "$(TMPDIR)"
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/installed $@

$(VENV)/installed-bench: $(VENV)/installed-dev
	@$(INSTALL) --editable '.[dev,bench]'
	@touch $@
