# Every target sets itself up with nothing but python3 >= 3.11 and its pip.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
INSTALL = $(PYTHON) -m pip --python $(BIN)/python install -qq --disable-pip-version-check --editable

.PHONY: install demo test prove check bench clean

install: $(VENV)/.train ## .venv with greenlane in it; then: . .venv/bin/activate

demo: $(VENV)/.train ## a shop from its first payment to a table in money; make demo ARGS=--exit ends by itself
	$(BIN)/greenlane demo $(ARGS)

test: $(VENV)/.dev ## every promise, seeded; with DEEP=1 those of the deep model too (PyTorch, about 900 MB)
	$(BIN)/pytest -n 2 --doctest-modules src tests $(ARGS)

prove: $(VENV)/.bench ## the long proofs; their results, with commit and machine, are kept in proofs/
	$(BIN)/pytest -m prove tests $(ARGS)
	$(BIN)/python benchmarks/crash.py --kills 50 --json proofs/crash.json
	@mkdir -p out
	$(BIN)/python benchmarks/handbook_like.py --days 129 --seed 5 --out out/handbook_like.parquet
	$(BIN)/python benchmarks/handbook.py --raw out/handbook_like.parquet \
		--test-weeks 2018-07-11,2018-07-18,2018-07-25,2018-08-01 --json proofs/handbook_like.json
	for world in europe us subscriptions calm; do \
		$(BIN)/greenlane evaluate policies --world $$world --full --cache out/cache --json proofs/policies_$$world.json \
			--report out/policies_$$world.html || exit 1; \
	done
	$(BIN)/python benchmarks/outage_drill.py --cache out/cache --json proofs/outage_europe.json

check: $(VENV)/.dev ## lint, types, layers, dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

bench: $(VENV)/.bench ## the bars: figure, reference, ratio, pass or fail
	$(BIN)/python -m benchmarks --json proofs/bench.json $(ARGS)

clean:
	rm -rf $(VENV) build dist out

# one stamp per set of extras, renewed when pyproject.toml changes
$(VENV)/.train: extras = train
$(VENV)/.dev: extras = train,mlflow,spark,dev$(if $(DEEP),$(comma)deep)
$(VENV)/.bench: extras = train,mlflow,spark,dev,bench$(if $(DEEP),$(comma)deep)

$(VENV)/.train $(VENV)/.dev $(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[$(extras)]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)
