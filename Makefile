# The verbs a person types. `make` alone lists them.
SHELL := /bin/sh
PYTHON ?= python3
export PYTHON
BIN := .venv/bin
# Tests wait for processes a third of their time: half as many workers again as there are processors, up to six.
WORKERS ?= $(shell n=$$(( ($$(env -u OMP_NUM_THREADS nproc) * 3 + 1) / 2 )); echo $$(( n > 6 ? 6 : n )))

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test soak verify-aws lint format bench bench-gpu lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## virtual environment and packages, from requirements.lock
	@tools/setup.sh

tools: setup ## build the command-line tools the rehearsal needs, into the per-user cache
	@$(BIN)/trainyard local tools

demo: setup ## rehearse the platform, train on it, interrupt the training, resume it
	@$(BIN)/trainyard demo

test: tools ## unit, rehearsal and trainer tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

soak: setup ## kill the training KILLS (100) times at random, CHAOS_SEED tells when, and see that every resume is exact
	@CHAOS_KILLS="$${KILLS:-100}" CHAOS_SEED="$${CHAOS_SEED:-$$(date +%s)}" \
		$(BIN)/python -m pytest tests/trainer/chaos -s --timeout 7200

verify-aws: setup ## read-only: does ENV=dev stand in your AWS account as it does in a rehearsal
	@$(BIN)/python tests/standing/verify.py "$(ENV)"

lint: setup ## format, lint, types, import direction
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/ty check
	@$(BIN)/lint-imports

format: setup ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: tools ## measure what docs/benchmarks.md states: a table, and JSON in .trainyard/bench/
	@$(BIN)/python -m benchmarks

bench-gpu: setup ## measure the trainer on one GPU: MFU, and the ratio to transformers' Llama
	@$(BIN)/python -m benchmarks.gpu --json .trainyard/bench/gpu.json

COMPILE := pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet
lock: setup ## resolve requirements.lock anew, and that of the benchmarks' peers
	@$(BIN)/uv $(COMPILE) pyproject.toml --extra rehearsal --group dev --no-emit-package trainer \
		--output-file requirements.lock
	@# The peers' own lock holds what the project's lacks.
	@$(BIN)/uv $(COMPILE) benchmarks/peers/requirements.in --constraint requirements.lock \
		$$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
		--output-file benchmarks/peers/requirements.lock
	@# Checkov's pins agree with none of that: it runs apart.
	@$(BIN)/uv $(COMPILE) benchmarks/peers/checkov.in --output-file benchmarks/peers/checkov.lock

clean: ## stop what runs here, remove what runs left and the virtual environment
	@if [ -x $(BIN)/trainyard ]; then $(BIN)/trainyard local down --all; fi
	rm -rf .trainyard .venv build dist *.egg-info training_images/trainer/*.egg-info training_images/trainer/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
