# Every target sets itself up with nothing but python3 >= 3.11 and its pip.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(PYTHON) -m pip --python $(BIN)/python install -qq --disable-pip-version-check --editable

.PHONY: demo test prove check bench clean

demo: $(VENV)/.train ## a shop from its first payment to a table in money; make demo ARGS=--exit ends by itself
	$(BIN)/greenlane demo $(ARGS)

test: $(VENV)/.dev ## every promise, seeded
	$(BIN)/pytest -n 2 --doctest-modules src tests $(ARGS)

prove: $(VENV)/.bench ## the long proofs
	$(BIN)/pytest -m prove tests $(ARGS)
	$(BIN)/python benchmarks/crash.py --kills 50 --json out/crash.json

check: $(VENV)/.dev ## lint, types, layers, dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

bench: $(VENV)/.bench ## the bars: figure, reference, ratio, pass or fail
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist out

# one stamp per set of extras, renewed when pyproject.toml changes
$(VENV)/.train: extras = train
$(VENV)/.dev: extras = train,dev
$(VENV)/.bench: extras = train,dev,bench

$(VENV)/.train $(VENV)/.dev $(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[$(extras)]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)
