# Every habit of this repository. `make help` lists them.
# All that can be made again is kept outside the repository, in ~/.cache/noria (NORIA_CACHE moves it).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

NORIA_CACHE ?= $(HOME)/.cache/noria
VENV := $(NORIA_CACHE)/venvs/$(shell sha256sum requirements/dev.txt | cut -c1-12)
PYTHON := $(VENV)/bin/python
# The packages of this checkout, not installed ones: several checkouts share one virtual environment.
export NORIA_CACHE
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/serving:$(CURDIR)
export PATH := $(VENV)/bin:$(NORIA_CACHE)/bin:$(PATH)
# Byte code beside the cache, not in the checkout; without it every run compiles and rewrites all tests anew.
export PYTHONPYCACHEPREFIX := $(NORIA_CACHE)/pycache
# And what hypothesis computes once, like its table of Unicode (two seconds).
export HYPOTHESIS_STORAGE_DIRECTORY := $(NORIA_CACHE)/hypothesis
unexport PYTHONDONTWRITEBYTECODE

CLUSTER := python3 -m tools.cluster
# Prerequisites in their written order, also with -j: each uses every core, and the check of rights comes first.
.NOTPARALLEL:
LOCK := uv pip compile --quiet --generate-hashes --python-version 3.11 --custom-compile-command "make lock"
PYTEST := $(PYTHON) -m pytest

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- set-up ---------------------------------------------------------------------------------------------

.PHONY: setup
setup: ## Install what this machine lacks, the virtual environment, and (with root) the programs of the cluster
	@python3 -m tools.setup

.PHONY: venv
venv: ## The virtual environment alone: enough for lint, type, unit and crds-check
	@python3 -m tools.setup --venv

.PHONY: lock
lock: ## Resolve the dependencies and write requirements/*.txt (needs uv)
	@for extra in dev operator server train; do $(LOCK) --extra $$extra -o requirements/$$extra.txt pyproject.toml; done
	@for group in build router clients peer-mlserver peer-litserve peer-evidently peer-nannyml peer-river peer-fairlearn; do $(LOCK) --group $$group -o requirements/$$group.txt; done
	@$(LOCK) --extra train --extra torch --group pyproject.toml:torch -o requirements/torch.txt pyproject.toml
	@$(LOCK) --extra train --group pyproject.toml:example-flights -o requirements/example-flights.txt pyproject.toml

# ---- checks ---------------------------------------------------------------------------------------------

.PHONY: lint
lint: venv ## Ruff and the import contracts
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

.PHONY: format
format: venv ## Let ruff rewrite the sources
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

.PHONY: type
type: venv ## Mypy, strict
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy -p tools

# Two processes, split by what they import: the learning libraries take longer to load than most tests to run, and
# workers of one run would each load them. Where the other half is longer, this one takes some of it.
HEAVY := tests/unit/serving tests/unit/repository tests/unit/kube tests/unit/evidence tests/unit/cli \
	tests/unit/routers tests/unit/api tests/unit/domain/drift $(shell grep -rlE '^ *(from|import) (sklearn|scipy|pandas)' tests/unit/domain tests/unit/controllers)
FAST := not extended and not simulated and not processes
# One thread for each learning library: on two cores that are busy, more only wait for each other.
unit: export OMP_NUM_THREADS := 1
unit: export OPENBLAS_NUM_THREADS := 1

.PHONY: unit
unit: venv ## Unit tests: pure, seconds
	@log=$$(mktemp); status=0; \
	$(PYTEST) $(HEAVY) -q -m "$(FAST)" >"$$log" 2>&1 & heavy=$$!; \
	$(PYTEST) tests/unit -q -m "$(FAST)" $(HEAVY:%=--ignore=%) || status=$$?; \
	wait $$heavy || status=$$?; cat "$$log"; rm -f "$$log"; exit $$status

.PHONY: programs
programs: venv ## Tests of tools, of the examples, of the benchmarks' own code, of processes, and of rates of errors by simulation
	$(PYTEST) tests/tooling tests/examples tests/benchmarks -q -m "not extended"
	$(PYTEST) $(shell grep -rlE 'pytest.mark.(simulated|processes)' tests/unit) -q -m "(simulated or processes) and not extended"

.PHONY: crds
crds: venv ## Generate the CRDs from the API models
	$(PYTHON) -m noria_operator.api.crdgen

.PHONY: protocol
protocol: venv ## Generate the code of the gRPC messages from their .proto files
	$(PYTHON) -m tools.protocol

.PHONY: metrics
metrics: venv ## Generate the tables of metrics
	$(PYTHON) -m tools.monitoring.metrics docs/metrics.md

.PHONY: dashboards
dashboards: venv ## Generate the dashboards of the chart
	$(PYTHON) -m tools.monitoring.dashboards

.PHONY: pictures
pictures: venv ## Draw the dashboards from a live Prometheus into docs/dashboards (PROMETHEUS=http://…, ARGS)
	$(PYTHON) -m tools.monitoring.pictures $(PROMETHEUS) docs/dashboards $(ARGS)

.PHONY: crds-check
crds-check: venv ## Fail when CRDs, metrics or dashboards in the repository are not the generated ones
	$(PYTHON) -m noria_operator.api.crdgen --check
	$(PYTHON) -m tools.monitoring.metrics docs/metrics.md --check
	$(PYTHON) -m tools.monitoring.dashboards --check

.PHONY: rules
rules: venv ## Recording and alerting rules under promtool: what fires, and what does not
	@$(CLUSTER) build prometheus
	$(PYTEST) tests/rules -q -n 2

.PHONY: chart
chart: venv ## Checks of the Helm chart without a cluster
	@$(CLUSTER) build helm prometheus
	$(PYTEST) tests/chart -q

.PHONY: integration
integration: venv ## Tests on a real API server (no root needed)
	@$(CLUSTER) build etcd kubernetes kwok helm
	$(PYTEST) tests/integration -q -m "not extended" --durations=8

.PHONY: e2e
e2e: rights venv ## Tests on the real cluster with real traffic
	@$(CLUSTER) build helm contour
	$(PYTEST) tests/e2e -q -m "not extended" --durations=10

.PHONY: test
test: rights setup lint type unit programs crds-check rules chart integration e2e ## Everything above, in this order

.PHONY: test-extended
test-extended: test ## And what is slow by nature (fetches 6 GB once: PyTorch, clients and statistics that others wrote)
	$(PYTEST) tests/unit -q -m "hypothesis and not extended" --hypothesis-profile=thorough
	$(PYTEST) tests -q -m extended

# ---- the cluster ----------------------------------------------------------------------------------------

.PHONY: rights
rights: ## Say what is needed where no cluster can be started, before anything is installed or built
	@$(CLUSTER) check

.PHONY: cluster
cluster: rights setup ## Start a local Kubernetes (NORIA_KUBECONFIG uses yours), print its kubeconfig
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## Remove the local Kubernetes and all it left
	@$(CLUSTER) down

.PHONY: cluster-status
cluster-status: ## Say what runs
	@$(CLUSTER) status

.PHONY: images
images: ## Build the images that changed and push them to the cluster
	@$(CLUSTER) images

# ---- more -----------------------------------------------------------------------------------------------

.PHONY: demo
demo: rights setup ## The whole loop on real flights, about 10 minutes (KEEP=1 leaves it running, MONITORING=1 with Prometheus)
	@$(CLUSTER) build helm
	$(PYTHON) -m examples.flights.demo

.PHONY: bench
bench: rights setup ## Measure latencies, memory and idle requests
	$(PYTHON) -m benchmarks

.PHONY: bench-server
bench-server: venv ## Measure the model server beside its peers and floors, in turn (ARGS=--quick: one short round)
	$(PYTHON) -m benchmarks.server $(ARGS)

.PHONY: conformance
conformance: venv ## Real clients and a fuzzer on the model server and its peers; writes docs/benchmarks/conformance.md
	$(PYTHON) -m benchmarks.conformance $(ARGS)

.PHONY: bench-judge
bench-judge: venv ## Simulate rollouts under Noria's judge and its peers' rules (ARGS=--quick: half a minute)
	$(PYTHON) -m benchmarks.judge $(ARGS)

.PHONY: bench-drift
bench-drift: venv ## Simulate drift and none under Noria's rules and its peers' (fetches river once; ARGS=--quick)
	$(PYTHON) -m benchmarks.drift $(ARGS)
	$(PYTHON) -m benchmarks.drift.seasons $(ARGS)
	$(PYTHON) -m benchmarks.drift.flights $(ARGS)

.PHONY: bench-policies
bench-policies: venv ## Weigh retraining policies: trainings against loss, on streams and on flights (ARGS=--quick: two minutes)
	$(PYTHON) -m benchmarks.policies $(ARGS)

.PHONY: bench-rollouts
bench-rollouts: venv ## Measure the operator beside the real Argo Rollouts on an API server (ARGS="--rollouts 100"; root)
	@$(CLUSTER) build etcd kubernetes kwok helm argo-rollouts
	$(PYTHON) -m benchmarks.rollouts $(ARGS)

.PHONY: docs
docs: crds ## Generate the reference pages in docs/api, with the CRDs

.PHONY: clean
clean: ## Remove what builds left in this checkout (the cache in ~/.cache/noria stays)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
