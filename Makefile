# One command for each habit. `make` alone lists them. Nothing is needed but Python 3.11 or newer, with venv, and make.

VENV ?= .venv
DEMO_ARGS ?=
PYTEST_ARGS ?=
BIN := $(VENV)/bin
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# Only looked for when an environment has to be made; `make PYTHON=... test` chooses another one.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then echo "$$python"; break; fi; done)

# Each process gets one half of the tests, in order, so that files share what they set up; who is done first helps the other.
QUICK := $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint types cov fmt bench bench-cases evasions train docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## start the proxy with a scripted model and look at it; DEMO_ARGS=--once for a guided tour
	$(BIN)/safety-proxy demo $(DEMO_ARGS)

test: $(VENV)/.installed-dev ## run the tests, but for the slow ones
	$(QUICK) $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-clients $(VENV)/litellm/.installed ## run the slow tests, most of which drive clients, and all properties on more examples
	HYPOTHESIS_PROFILE=slow $(BIN)/python -m pytest -m "slow or hypothesis" $(PYTEST_ARGS)

cov: ## run the tests, measured, and fail if branch coverage is below the gate in pyproject.toml
	@$(MAKE) test PYTEST_ARGS="--cov --cov-report= --cov-fail-under=0 $(PYTEST_ARGS)"
	$(BIN)/coverage report

# Compiled once: tests start many processes, and each would compile the package anew.
test test-slow cov: export PYTHONDONTWRITEBYTECODE :=

lint: $(VENV)/.installed-dev ## style, formatting, and the borders between the layers
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.installed-clients ## mypy --strict
	$(BIN)/mypy

fmt: $(VENV)/.installed-dev ## format the code and mend what can be mended
	$(BIN)/ruff check --fix-only --exit-zero
	$(BIN)/ruff format

bench: $(VENV)/.installed-dev ## what the embedded classifier costs
	$(BIN)/python benchmarks/embedded.py

bench-cases: $(VENV)/.installed-dev ## what many cases cost in `policy test`: time and memory of 1,000 to 100,000; some minutes
	$(BIN)/python -m benchmarks.cases

evasions: $(VENV)/.installed-dev ## measure which disguises are seen through, and write docs/evasions.md
	$(BIN)/python -m benchmarks.evasions

train: $(VENV)/.installed-dev ## make the embedded classifier's model anew: make train DATA=DIR, with train.jsonl.gz and dev.jsonl.gz
	$(BIN)/python -m safety_proxy.classifiers.embedded.train --data $(DATA) --out safety_proxy/classifiers/embedded/model.npz

docs: $(VENV)/.installed-dev ## write docs/cli.md; do the links, files and targets that the documentation names exist?
	$(BIN)/python docs/render_cli.py
	$(BIN)/python -m pytest tests/test_project.py -k documentation

clean: ## remove what was built or measured; the virtual environment stays
	rm -rf build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find safety_proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with its venv module is needed and was not found" \
		"(on Debian and Ubuntu: apt install python3-venv). To name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c '$(SUITABLE)' || { echo "$(PYTHON) is no Python of 3.11 or newer with its venv module" >&2; exit 2; }
	"$(PYTHON)" -m venv "$(VENV)"

# The package alone is enough to run it; the tools are installed when they are first needed.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing safety-proxy into $(VENV)"
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing safety-proxy and the tools of its developers into $(VENV)"
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-clients: pyproject.toml | $(BIN)/python
	@echo "installing safety-proxy, the tools of its developers and the clients of its tests into $(VENV)"
	@$(INSTALL) '.[dev,clients]'
	@touch $@ $(VENV)/.installed-dev $(VENV)/.installed

# Apart, since it takes only older releases of a client that the tests have, too.
$(VENV)/litellm/.installed: pyproject.toml | $(BIN)/python
	@echo "installing LiteLLM into $(VENV)/litellm"
	@$(BIN)/python -m venv $(VENV)/litellm
	@$(VENV)/litellm/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[litellm]'
	@touch $@
