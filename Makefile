# Everything runs in .venv, which is made from the lock file the first time it is needed.

PYTHON ?= python3
CYCLES ?= 1000
CRASHES ?= 200
IMAGES ?= 100000
SEED ?= 1000
ORDERS ?= 40
SECONDS ?= 5
ROUNDS ?= 3
DATABASE ?=
DATABASE_OPTION = $(if $(DATABASE),--database $(DATABASE))
VENV := .venv
FAILOVER := .venv-failover
DOCS := .venv-docs
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help run demo test check docs interleave failover simulate powercut chaos mutants bench format pages wheel picture screenshots lock clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'

run: $(READY) ## run the service for development: http://127.0.0.1:8080, database hookline.db; prints a link that signs in
	$(BIN)/hookline serve --dev

demo: $(READY) ## show an event published, failed, retried and delivered
	$(BIN)/hookline demo

test: $(READY) ## run all tests; none needs a service that is started by hand
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(READY) docs ## check format, lint, types, generated pages and the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/lifecycle.py --check

interleave: $(READY) ## race each two verbs of PostgreSQL; ORDERS=40: in so many orders of their statements
	HOOKLINE_ORDERS=$(ORDERS) $(BIN)/pytest tests/storage/test_postgres_interleavings.py

powercut: $(READY) ## cut the power; IMAGES=100000: open so many disks that a cut could leave
	PYTHONPATH=tests $(BIN)/python -m powercut --images $(IMAGES) --seed $(SEED)

failover: $(READY) $(FAILOVER)/.ready ## fail PostgreSQL in six ways under load, and look for what was acknowledged
	PYTHONPATH=tests $(BIN)/python -m failover $(FAILOVER)/bin/patroni

chaos: $(READY) ## kill nodes and databases: CYCLES=1000 CRASHES=200; goes on where it was ended (chaos.jsonl)
	CHAOS_THOROUGH=1 $(BIN)/pytest tests/chaos
	PYTHONPATH=tests $(BIN)/python -m chaos --cycles $(CYCLES) --crashes $(CRASHES)

bench: $(READY) ## measure speed, and what each costs its neighbours; SECONDS=5 a run, ROUNDS=3, DATABASE=postgres
	$(BIN)/python bench/end_to_end.py $(DATABASE_OPTION) --seconds $(SECONDS)
	$(BIN)/python bench/claim.py $(DATABASE_OPTION) --rounds 30
	$(BIN)/python bench/fairness.py $(DATABASE_OPTION) --seconds $(SECONDS) --rounds $(ROUNDS)
	$(BIN)/python bench/fairness.py $(DATABASE_OPTION) --seconds $(SECONDS) --rounds $(ROUNDS) --hosts 1
	$(BIN)/python bench/noisy.py $(DATABASE_OPTION) --seconds $(SECONDS) --rounds $(ROUNDS)
	$(BIN)/python bench/replaying.py $(DATABASE_OPTION) --seconds $(SECONDS) --rounds $(ROUNDS) --events 20000

SEEDS ?= 0-20000
simulate: $(READY) ## play schedules of the simulation: SEEDS=0-20000, or one with its story: SEEDS=17
	cd tests && ../$(BIN)/python -m simulation $(SEEDS)

mutants: $(READY) ## plant bugs one by one and see the simulation find each: at most 15 minutes a bug, usually seconds
	cd tests && ../$(BIN)/python -m simulation.mutants

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

pages: $(READY) ## write the pages that are generated from code
	$(BIN)/python docs/lifecycle.py

docs: $(READY) $(DOCS)/.ready ## build the documentation in site/; a link that leads nowhere is an error
	$(BIN)/python docs/api.py .
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

wheel: $(READY) ## build the wheel in dist/; what it holds is tested by tests/deploy
	$(BIN)/python -m hatchling build --target wheel

picture: $(READY) ## render the demo for the README
	$(BIN)/hookline demo --picture docs/images/demo.svg

screenshots: $(READY) ## take the pictures of the dashboard with Chromium
	PYTHONPATH=tests $(BIN)/python -m browser docs/images

lock: $(READY) ## resolve the dependencies again
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --upgrade pyproject.toml -o requirements.lock
	$(COMPILE) --upgrade pyproject.toml --group pyproject.toml:dev -o requirements-dev.lock
	$(COMPILE) --upgrade --group pyproject.toml:build -o requirements-build.lock
	$(COMPILE) --upgrade --group pyproject.toml:failover -o requirements-failover.lock
	$(COMPILE) --upgrade --group pyproject.toml:docs -o requirements-docs.lock

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) $(FAILOVER) $(DOCS) site build docs/openapi.json .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Hookline needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make a virtual environment: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(FAILOVER)/.ready: requirements-failover.lock
	$(PYTHON) -m venv $(FAILOVER)
	$(FAILOVER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-failover.lock
	@touch $@

$(DOCS)/.ready: requirements-docs.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@
