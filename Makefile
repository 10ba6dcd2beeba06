# What can be done here; `make` alone lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Backends that must take part in the tests: absence fails instead of skipping.
REQUIRE ?= local,flower,tff
export OMP_NUM_THREADS = 1
# One process of tests a core, four at most; conftest.py says which tests stay together.
PARALLEL := --numprocesses=logical --maxprocesses=4

# More for pytest, e.g. make test ARGS='-k flower'
ARGS ?=

.PHONY: help setup demo tff pins flwr-datasets test test-all style check check-newest check-lowest conformance mutants golden support schema bench bench-baseline peers clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/ready ## make .venv: flspec, its Flower extra and the tools

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "flspec needs Python 3.11 or newer; make PYTHON=... names one")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[flower,dev]'
	@# Only tests need it, and skip without it; alone, because what it depends on must not replace torch.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchvision \
	    || echo "no torchvision: the models are not compared with its own"
	touch $@

demo: setup ## run specs/quickstart.yaml on the local backend and print its table
	$(BIN)/flspec run specs/quickstart.yaml --backend local

tff: setup ## make TensorFlow Federated's own environment
	$(BIN)/flspec backends install tff

pins: setup ## rewrite the hashes of TFF's pins, after a change of requirements.in beside them
	$(BIN)/uv pip compile --quiet backends/flspec_tff/requirements.in --output-file backends/flspec_tff/requirements.txt \
	    --no-deps --generate-hashes --no-annotate --custom-compile-command "make pins" \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_31

flwr-datasets: setup ## make the environment of Flower Datasets, which test-all compares with
	$(BIN)/python -m tests.flower_datasets.environment

test: setup tff ## every test but those of a release, Flower and TFF included
	FLSPEC_REQUIRE=$(REQUIRE) $(BIN)/python -m pytest $(PARALLEL) -m "not release" $(ARGS)

test-all: setup tff flwr-datasets ## every test, those of a release included
	FLSPEC_REQUIRE=$(REQUIRE),flwr-datasets $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

style: setup ## ruff, and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: style ## style, and the tests that take seconds
	$(BIN)/python -m pytest $(PARALLEL) -m "not release" tests/unit tests/properties tests/mutants tests/test_architecture.py $(ARGS)

mutants: setup tff ## apply small wrong changes to a copy, each of which its named tests must catch; --only NAME by ARGS
	FLSPEC_REQUIRE=$(REQUIRE) $(BIN)/python -m tests.mutants.run $(ARGS)

check-newest: setup ## the fast tests, a run and a certificate with the newest of every dependency
	$(BIN)/python tests/packaging/bounds.py newest

check-lowest: setup ## the same with the lowest that pyproject.toml allows
	$(BIN)/python tests/packaging/bounds.py lowest

conformance: setup tff ## every backend against the local one and against numpy
	FLSPEC_REQUIRE=$(REQUIRE) $(BIN)/python -m pytest $(PARALLEL) -m "not release" tests/conformance $(ARGS)

golden: setup ## rewrite the numbers that must not move; say why in the commit
	FLSPEC_WRITE_GOLDEN=1 $(BIN)/python -m pytest tests/golden $(ARGS)

support: setup tff ## run every part on every engine and rewrite docs/support.md
	FLSPEC_WRITE_GOLDEN=1 $(BIN)/python -m pytest tests/conformance/test_support.py $(ARGS)

schema: setup ## rewrite specs/schema.json
	$(BIN)/python -c "from flspec.spec.schema import write_schema; write_schema('specs/schema.json', installed=False)"

bench: setup tff ## measure beside the floor, keep it in .benchmarks/, draw docs/benchmarks.md; fail where a ratio has grown
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-storage=.benchmarks --benchmark-autosave \
	    --benchmark-columns=median,iqr,rounds --benchmark-group-by=group --benchmark-sort=name $(ARGS)
	$(BIN)/python -m benchmarks.tracking

bench-baseline: setup ## hold later runs of make bench to those of this commit, of which two are needed
	$(BIN)/python -m benchmarks.tracking --baseline

peers: setup tff ## time pfl-research, Flower and TFF by their own loops on the same plans, for docs/benchmarks.md; installs pfl
	$(BIN)/python -m benchmarks.peers.environment
	$(BIN)/python -m benchmarks.peers $(ARGS)

clean: ## remove the environment and what tools left
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
