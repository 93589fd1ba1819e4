# The commands of the README: each rests on `setup` and does one job.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
LOCKS := docker/requirements/torch.lock docker/requirements/requirements.lock
# The first Python that will do, tried by running it: a name on the PATH may be a shim, or lack venv as Debian's does.
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done)
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input

.PHONY: setup venv run test lint audit format golden docs

setup: $(STAMP)

$(STAMP): $(LOCKS) pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory venv
	@echo "setup: installing torch"
	@$(PIP) install --requirement docker/requirements/torch.lock --constraint docker/requirements/requirements.lock
	@echo "setup: installing the pinned packages (minutes, the first time)"
	@$(PIP) install --requirement docker/requirements/requirements.lock
	@echo "setup: installing advantageflow"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

venv:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUITABLE)' 2>/dev/null || { \
	  echo "setup: $(or $(PYTHON),none of python3 and python3.11 to python3.14) is not a Python 3.11 or later with venv." >&2; \
	  echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
	  exit 1; }
	@echo "setup: making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV)

run: setup
	@$(BIN)/advantageflow run
	@echo "to call advantageflow yourself: source $(BIN)/activate"

test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

audit: setup
	@.ci/audit $(AUDIT_OPTIONS)

format: setup
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

golden: setup
	@$(BIN)/python -m pytest tests/unit/pipelines/online/test_online.py tests/unit/pipelines/plan/test_counts.py --update-golden

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict --site-dir build/site
	@echo "the pages are in build/site; with a server that follows changes: $(BIN)/python -m mkdocs serve"
