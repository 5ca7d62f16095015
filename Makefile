# One door: people, pre-commit and CI all call these. `make` lists them.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DATA   ?=
DEMO   ?=
TESTS  ?= tests
CHAOS  ?=
SOAK   ?=
FUZZ   ?=
BENCH  ?=
SIZE   ?= small
ROOMS  := features events metrics bundles content graph retrieval models ranking streams gateway evaluation web cli experiments

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-kafka chaos soak fuzz check format docs lock bench bench-quick experiments clean

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|' 2>/dev/null \
	 || grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 picks the Python, VENV=folder the virtual environment, TESTS=tests/features some tests."

setup: $(READY)  ## Make .venv with everything in it (again when pyproject.toml changes)

# The stamp is newer than pyproject.toml exactly while the environment fits it.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	 || { echo "rankstream needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

demo: $(READY)  ## Train, serve and stream MovieLens-100K here; DATA=folder works offline, DEMO="--help" passes flags
	$(BIN)/rankstream demo $(if $(DATA),--data $(DATA)) $(DEMO)

# Kernels are compiled once, before tests start workers that would wait for it.
COMPILE = $(BIN)/python -c "from rankstream.streams.engine import open_engine; open_engine('auto')"

# A process of tests that dies ends the run: pytest-xdist 3.8 gives the one in its place files that are done, and waits
# for ever for it to finish them.
PYTEST = $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Five for two processors: about two of them wait for brokers and workers at any time (tests/order.py).
test: $(READY)  ## Run the tests, with the embedded broker
	@$(COMPILE)
	$(PYTEST) -n 5 $(TESTS)

test-kafka: $(READY)  ## Run the tests that talk to a broker on the Apache Kafka in KAFKA_HOME (needs a JDK 17)
	@$(COMPILE)
	$(PYTEST) -m broker --broker kafka -n 3 $(TESTS)

chaos: $(READY)  ## Break a running system for minutes and count what is lost, on KAFKA_HOME if set; CHAOS="--seed 7" runs a plan again
	$(BIN)/python -m chaos $(CHAOS)

soak: $(READY)  ## Whether a worker stays as it is at 70 % of its capacity for half an hour; SOAK="--minutes 15 --plot soak.svg"
	$(BIN)/python -m benchmarks.soak $(SOAK)

fuzz: $(READY)  ## Drive every decoder for ten minutes with what nobody meant to send; FUZZ="--seconds 60 --seed 7" says otherwise
	$(BIN)/python -m fuzz $(FUZZ)

# mypy and import-linter do not follow the path that rankstream/__init__.py extends in a checkout, so they look at the
# packages laid out as they are installed.
check: $(READY)  ## Lint, check types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/checked && mkdir -p build/checked/rankstream
	@cp -rp rankstream/. $(ROOMS) build/checked/rankstream
	@cp -rp chaos fuzz build/checked
	cd build/checked && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p rankstream -p chaos -p fuzz
	cd build/checked && ../../$(BIN)/lint-imports ../../pyproject.toml --cache-dir ../../.import_linter_cache

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## Generate docs/configuration.md and docs/schemas from the code
	$(BIN)/python -m docs.generate

lock: $(READY)  ## Pin what the image installs, by version and checksum, to the newest that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o deploy/requirements.lock

bench: $(READY)  ## Measure all that can be measured here, rivals beside, on KAFKA_HOME if set; BENCH="--only engine --again" says otherwise
	@$(COMPILE)
	$(BIN)/python -m benchmarks $(BENCH)

bench-quick: $(READY)  ## Less of each of them: minutes, on a quiet machine
	@$(COMPILE)
	$(BIN)/python -m benchmarks --quick $(BENCH)

# A run whose result is there is skipped, one that was stopped goes on.
experiments: $(READY)  ## Train what docs/models.md compares and write its tables: DATA=folder of the logs, SIZE=small (minutes) or full (hours)
	@test -d "$(DATA)" || { echo "say DATA=folder; in it kuairand_pure_part, music30_sample, ml1m_sasrec and the logs of experiments/feed/logs.py"; exit 1; }
	$(BIN)/python -m rankstream.experiments.kuairand.ranker --data $(DATA)/kuairand_pure_part --size $(SIZE)
	$(BIN)/python -m rankstream.experiments.music.pinnerformer --music $(DATA)/music30_sample --size $(SIZE)
	$(BIN)/python -m rankstream.experiments.music.hiertcn --music $(DATA)/music30_sample --size $(SIZE)
	$(BIN)/python -m rankstream.experiments.movielens.leave_one_out --data $(DATA)/ml1m_sasrec --size $(SIZE)
	$(BIN)/python -m rankstream.experiments.feed --data $(DATA) --size $(SIZE)
	$(BIN)/python -m rankstream.experiments.tables

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
