# Every target sets up what it needs in .venv from python3 alone; the second call is quick.
#
#   make demo                        from nothing to a trained result with a table and a picture
#   make test                        from nothing to the whole test suite passed
#   make test PYTHON=python3.12      with another interpreter (delete .venv first)

PYTHON ?= python3
WORKERS ?= 2

bin := .venv/bin
install := $(bin)/python -m pip install --disable-pip-version-check --no-compile -qq -c constraints.txt
sources := marlx envs tests experiments benchmarks docs

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow test-browser pytest lint types contracts bench docs notebooks format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.core  ## train many seeds, print a table, draw a picture (about two minutes)
	$(bin)/python -m experiments.demo

bench: .venv/.dev  ## measure speed, memory and compile time; all of it takes hours
	$(bin)/python -m benchmarks

docs: .venv/.dev  ## build the documentation to build/docs
	$(bin)/python -m sphinx -W -n --keep-going -q -E docs build/docs
	@echo "build/docs/index.html"

notebooks: .venv/.dev  ## run the notebooks and write them with what came out
	$(bin)/python -m experiments.execute_notebooks

test: lint types contracts pytest  ## lint, types, import contracts and the fast tests

pytest: .venv/.dev  ## the fast tests alone
	$(bin)/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: .venv/.dev  ## the tests that take minutes
	$(bin)/python -m pytest -n $(WORKERS) --dist worksteal -m slow

test-browser: .venv/.dev  ## the pages of HTML in a real Chromium: the system's, or one that playwright fetches
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		$(bin)/python -m playwright install chromium
	MARLX_BROWSER=required $(bin)/python -m pytest tests/browser

lint: .venv/.dev  ## style and format
	$(bin)/python -m ruff check $(wildcard $(sources))
	$(bin)/python -m ruff format --check $(wildcard $(sources))

types: .venv/.dev  ## type checker
	$(bin)/python -m mypy

contracts: .venv/.dev  ## who may import whom
	$(bin)/lint-imports --no-cache --no-logo

format: .venv/.dev  ## mend style and format
	$(bin)/python -m ruff check --fix $(wildcard $(sources))
	$(bin)/python -m ruff format $(wildcard $(sources))

clean:  ## remove the environment and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist

.venv/.made:
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.core: .venv/.made pyproject.toml constraints.txt
	$(install) -e .
	@touch $@

.venv/.dev: .venv/.made pyproject.toml constraints.txt
	$(install) -e '.[dev]'
	@touch .venv/.core $@
