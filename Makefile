# `make help` lists the targets. Everything lives in .venv; nothing outside this folder is touched.
PYTHON ?= python3.11
BIN := .venv/bin
PIP_OPTIONS := --quiet --disable-pip-version-check --no-compile
# Packages are compiled when they are first imported, not all at once: that saves a minute of set-up.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup dev demo line-demo paper test test-trust check docs bench scale scale-full torture torture-serving audit-dependencies clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## Make the environment (.venv) with the tested set of packages

.venv/installed: pyproject.toml constraints.txt
	@echo "Setting up .venv (about two minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --constraint constraints.txt --editable .
	@touch $@

dev: .venv/installed-dev

# By one call of pip, whether or not the packages are there already: another one would resolve all of it again.
.venv/installed-dev: pyproject.toml constraints.txt
	@echo "Setting up .venv with the developer's tools (about two minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --constraint constraints.txt --editable '.[dev]'
	@touch .venv/installed $@

demo: setup ## Run the main job on a made inspection line, offline
	@$(BIN)/irp demo

line-demo: setup ## Live through the first nights of a made line, offline: promoted, refused, rolled back
	@rm -rf line-demo
	@$(BIN)/irp line demo

# Stages call `python`: the environment's. A cell that fails is named at the end; the others finish.
paper: setup ## Reproduce the paper's tables and figures (dvc repro; docs/results.md)
	@PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro --keep-going

# A file stays in one process, for the run that its tests share, and files start in their order, the long ones first.
# Three processes on two cores: one often waits for a server. WORKERS=0: all in one process.
WORKERS ?= 3
test: dev ## Run the test suite
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-trust: dev ## Of these, what is said of kills, damage, full disks, doors and tampering
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m trust

check: dev ## Lint, formatting, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: dev ## Build the documentation as a site, into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

scale: setup ## Measure a refinement of 10,000 and 100,000 made-up images: time by stage, memory (docs/scale.md)
	@$(BIN)/python -m benchmarks.scale 10000 100000

scale-full: setup ## The same with 1,000,000; says first what it takes
	@$(BIN)/python -m benchmarks.scale 1000000

bench: setup ## Measure: ratios, side by side in one run
	@$(BIN)/python -m benchmarks.run

# Real kills of a real command, its first one and later ones; every run ends as the one that nobody killed.
KILLS ?= 20
SEED ?=
torture: dev ## Kill runs at random moments and compare how they end (KILLS=20, SEED=; up to an hour)
	@$(BIN)/python -m tests.torture --kills $(KILLS) $(if $(SEED),--seed $(SEED))

torture-serving: dev ## Serve under load, move the alias, kill the registry; and MLflow's own server (minutes)
	@$(BIN)/python -m tests.torture_serving

audit-dependencies: dev ## Ask a vulnerability database about the pinned packages (pip-audit; needs the network)
	@$(BIN)/python -m pip install $(PIP_OPTIONS) 'pip-audit>=2.7,<3'
	@$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean: ## Remove everything that was made here (environment, runs, caches, demo images)
	rm -rf .venv .irp runs demo line-demo lines data/prepared data/features data/cells snapshots/demo-* mlflow.db mlartifacts .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache build *.egg-info
