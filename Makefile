# Every target works on a fresh clone: what is missing is installed first, into .venv, and said.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
# More workers than processors only make the timed tests wait.
WORKERS ?= 2
# What to test, and further options for pytest: make test TESTS='tests/unit -k query'
TESTS ?=

.PHONY: help quickstart test lint format bench bench-operator generate lock clean setup images e2e cluster-up cluster-load cluster-down kind-up kind-down

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## install what it takes, apply examples/01-digits, show the result
	@scripts/setup quickstart
	@.venv/bin/superduper apply -f examples/01-digits

test: setup ## run all tests, on real servers that are started and stopped with them
	@$(PY) -m pytest -q -n $(WORKERS) $(TESTS)

e2e: ## run the scenarios on a real cluster: one that is brought up, or KUBECONFIG=…; KEEP=1 leaves it up
	@scripts/e2e $(TESTS)

images: ## build the images with docker, podman or buildah; REGISTRY=… TAG=… BASE=…
	@scripts/setup quickstart
	@images/build

cluster-up: ## bring up a real one-node Kubernetes on this machine, without Docker (as root), with our images
	@scripts/setup cluster
	@tests/cluster/build-images
	@tests/cluster/up

cluster-load: ## bring changed code into the running cluster
	@tests/cluster/build-images
	@tests/cluster/load

cluster-down: ## end that cluster; caches stay
	@tests/cluster/down

kind-up: ## the same with kind, for those with Docker
	@scripts/setup quickstart
	@scripts/kind up

kind-down: ## end the kind cluster
	@scripts/kind down

lint: setup ## style, types, layers, file lengths, generated files
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo
	scripts/ci-file-lengths.sh
	$(PY) scripts/generate.py --check

format: setup ## put the sources into shape
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: setup ## measure, beside the raw floor of the same run
	$(PY) -m bench $(BENCH)

bench-operator: setup ## measure the operator against a real API server, with 1,000 objects
	$(PY) -m bench.operator $(BENCH)

generate: setup ## write the generated files anew
	$(PY) scripts/generate.py

lock: setup ## resolve requirements/*.txt anew, with hashes
	rm -f requirements/*.txt
	$(LOCK) pyproject.toml requirements/build.in --extra image --extra numpy --extra sklearn -o requirements/runtime.txt
	$(LOCK) pyproject.toml requirements/build.in --all-extras --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) pyproject.toml $(IN_RUNTIME) -c requirements/dev.txt -o requirements/image-runtime.txt
	$(LOCK) pyproject.toml images/runtime-ray.in $(IN_RUNTIME) --extra ray -c requirements/dev.txt -o requirements/image-runtime-ray.txt
	$(LOCK) pyproject.toml --extra operator -c requirements/dev.txt -o requirements/image-operator.txt

# What users' models and databases need in the images.
IN_RUNTIME := $(addprefix --extra ,server postgres mysql mongodb s3 duckdb image numpy sklearn parquet ibis)

LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --custom-compile-command 'make lock'

clean: ## remove what the other targets made here
	rm -rf .venv .superduper .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@scripts/setup test
