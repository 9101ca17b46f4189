# The commands people and CI use. `make help` lists them.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Extra for people who only run it; tests, checks, bench and load need all of dev.
INSTALLED := $(VENV)/.installed-embedded
INSTALLED_DEV := $(VENV)/.installed-dev
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check

SPACE := $() $()

.DEFAULT_GOAL := help
.PHONY: help run test coverage test-clients check conformance suites-help bench load fleet chaos soak fuzz lock audit clean

help: ## what can be asked for
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml requirements.lock | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps -e .
	@touch $@

# What runs is as it is locked; the tools beside it are within the ranges of pyproject.toml.
$(INSTALLED_DEV): $(INSTALLED)
	$(PIP) install -e '.[dev]'
	@touch $@

run: $(INSTALLED) ## control plane, sidecar and an embedded server, with a sample flag
	@exec $(BIN)/matrixflag dev $(ARGS)

test: $(INSTALLED_DEV) ## all tests, with real servers and clients
	tests/clients/install
	$(BIN)/python -m pytest $(ARGS)

coverage: $(INSTALLED_DEV) ## the same, and how much of the code they reach; takes twice as long
	tests/clients/install
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report --format=total | sed 's/^/coverage: /;s/$$/ %/'

# Those of the clients that are compiled first; each needs its compiler.
CLIENTS ?= go java

test-clients: $(INSTALLED_DEV) ## the clients that are compiled first; needs Go, and a JDK with Maven
	$(foreach client,$(CLIENTS),tests/clients/$(client)/build &&) true
	$(BIN)/python -m pytest tests/clients -m toolchain -k '$(subst $(SPACE), or ,$(CLIENTS:%=61-%))' $(ARGS)

check: $(INSTALLED_DEV) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

conformance: $(INSTALLED_DEV) ## other systems' own test suites; needs MATRIXFLAG_SUITES
	$(BIN)/python -m tests.conformance.report --show

suites-help: $(INSTALLED_DEV) ## where the data of those suites is to be had
	@$(BIN)/python -m tests.conformance.report --help-suites

bench: $(INSTALLED_DEV) ## the figures of docs/performance.md, measured here
	$(BIN)/python -m tests.bench $(ARGS)

load: $(INSTALLED_DEV) ## 30 s of locust against a fresh `matrixflag dev`; fails on any error
	$(BIN)/python -m loadtests.run $(ARGS)

fleet: $(INSTALLED_DEV) ## a thousand sidecars: how fast a change is everywhere; ARGS=--restart
	$(BIN)/python -m loadtests.fleet $(ARGS)

chaos: $(INSTALLED_DEV) ## every fault of docs/reliability.md, long; prints its figures
	MATRIXFLAG_CHAOS=long $(BIN)/python -m pytest tests/chaos $(ARGS)

soak: $(INSTALLED_DEV) ## MINUTES=30 of load, changes and restarts of Redis; prints what grows
	$(BIN)/python -m tests.chaos.soak --minutes $(or $(MINUTES),30)

fuzz: $(INSTALLED_DEV) ## the API against requests made up from its description, long; prints its seed
	MATRIXFLAG_FUZZ_EXAMPLES=200 MATRIXFLAG_FUZZ_SEED=$${MATRIXFLAG_FUZZ_SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest tests/fuzz -s $(ARGS)

TOOLS := $(VENV)/tools

$(TOOLS)/bin/uv $(TOOLS)/bin/pip-audit: | $(BIN)/python
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check uv pip-audit

COMPILE := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --no-emit-package matrix-flag

lock: $(TOOLS)/bin/uv ## requirements.lock and those of the images: what is installed, exact and with hashes
	$(COMPILE) --upgrade --extra embedded pyproject.toml -o requirements.lock
	$(COMPILE) --upgrade --constraint requirements.lock --extra control-plane pyproject.toml -o docker/control-plane.lock
	$(COMPILE) --upgrade --constraint requirements.lock pyproject.toml -o docker/sidecar.lock
	$(COMPILE) --upgrade docker/build.in -o docker/build.lock

audit: $(TOOLS)/bin/pip-audit ## known vulnerabilities of what is locked; asks a public database, so not in CI; fails where that does not answer
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock -r docker/build.lock $(ARGS)

clean: ## remove what was installed and built, not the data
	rm -rf $(VENV) build dist *.egg-info tests/clients/node_modules tests/clients/go/target tests/clients/java/target .mypy_cache .pytest_cache .ruff_cache .hypothesis
