# Every target does all of its own set-up in .venv: `make help` lists them.
# The newest Python that answers and can make an environment (the newer, the newer the JAX, and the faster on a CPU): a
# name on PATH may be a shim with nothing behind it. PYTHON=... takes another.
PYTHON ?= $(or $(shell for name in python3.13 python3.12 python3.11 python3; do \
  $$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; \
  done),python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile
RUN_STAMP := .venv/.installed-run
DEV_STAMP := .venv/.installed-dev
DOCS_STAMP := .venv/.installed-docs
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
LOCK_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-full test test-slow test-every lint format lock bench results docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

# The run-time packages alone, at the locked versions; `demo` needs no more.
$(RUN_STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "kdjax: error: '$(PYTHON)' is not Python 3.11 or newer; name one that is: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "setting up .venv with $$($(PYTHON) --version) (once; a minute or two) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) --upgrade pip  # an interpreter's bundled one may be years old and half as fast
	@$(PIP) --constraint requirements.lock --editable .
	@touch $@

# Test and development tools on top: the whole lock.
$(DEV_STAMP): $(RUN_STAMP)
	@echo "adding the test and development tools to .venv ..."
	@$(PIP) --no-deps --requirement requirements.lock
	@touch $@

# What builds the site on top, from a lock of its own.
$(DOCS_STAMP): $(RUN_STAMP) requirements-docs.lock
	@echo "adding what builds the documentation to .venv ..."
	@$(PIP) --no-deps --requirement requirements-docs.lock
	@touch $@

demo: $(RUN_STAMP)  ## data, teachers, a student by each method, evaluation, export, report: at most 15 minutes on 2 cores
	@$(BIN)/kdjax demo

demo-full: $(RUN_STAMP)  ## the same with full budgets (hours on a CPU)
	@$(BIN)/kdjax demo --full

test: $(DEV_STAMP)  ## the quick tests (PYTEST_ARGS=... is passed on)
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(PYTEST_ARGS)

test-slow: $(DEV_STAMP)  ## the slow tests: crash rounds, whole pipelines, the built wheel
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m slow $(PYTEST_ARGS)

test-every: $(DEV_STAMP)  ## every network where the slow tests take one of each kind, and their heaviest (an hour or so)
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m every $(PYTEST_ARGS)

lint: $(DEV_STAMP)  ## ruff (rules and format), typos, mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/typos
	@$(BIN)/mypy

format: $(DEV_STAMP)  ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: $(DEV_STAMP)  ## bring requirements.lock in line with pyproject.toml (LOCK_ARGS=--upgrade: newest versions)
	@$(PIP) uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra test --extra dev --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) --output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra docs --constraint requirements.lock --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) --output-file requirements-docs.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra beam --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) --output-file requirements-beam.lock pyproject.toml

docs: $(DOCS_STAMP)  ## the documentation site in site/: open site/index.html (its tutorials are run: minutes)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs site; status=$$?; rm -rf jupyter_execute; exit $$status

results: $(RUN_STAMP)  ## docs/results.md of the stored evidence, benchmarks/results/evidence
	@$(BIN)/python benchmarks/evidence.py page

bench: $(RUN_STAMP)  ## the benchmarks of this machine's CPU (BENCH_ARGS=... is passed on)
	@$(BIN)/python benchmarks/cpu.py $(BENCH_ARGS)

clean:  ## remove what the tools wrote; .venv, runs/ and demo/ stay
	rm -rf build dist kdjax.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis site docs/api .jupyter_cache jupyter_execute
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
