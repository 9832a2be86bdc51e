PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

INSTALL := $(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check -c constraints.txt

.PHONY: setup dev demo test lint slow oracles clean

# pip installs from outside, which works where ensurepip is missing too (bare Debian).
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.ready
	$(INSTALL) -e '.[dev]'
	touch $@

setup: $(VENV)/.ready

dev: $(VENV)/.dev

demo: setup
	$(BIN)/adamantine run rotation --scale laptop

test: dev
	$(BIN)/python -m pytest

slow: dev
	$(BIN)/python -m pytest -m slow

oracles: dev
	$(INSTALL) -e '.[dev,oracles]'
	$(BIN)/python -m pytest tests/test_oracles.py tests/test_agreement.py

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV)
