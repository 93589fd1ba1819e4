# The commands of the README: each rests on `setup` and does one job.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
LOCKS := docker/requirements/torch.lock docker/requirements/requirements.lock
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input

.PHONY: setup run test lint format golden

setup: $(STAMP)

$(STAMP): $(LOCKS) pyproject.toml
	@echo "setup: making $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "setup: installing torch"
	@$(PIP) install --requirement docker/requirements/torch.lock --constraint docker/requirements/requirements.lock
	@echo "setup: installing the pinned packages (minutes, the first time)"
	@$(PIP) install --requirement docker/requirements/requirements.lock
	@echo "setup: installing advantageflow"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

run: setup
	@$(BIN)/advantageflow run

test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

golden: setup
	@$(BIN)/python -m pytest tests/unit/pipelines/online/test_online.py --update-golden
