# Every target can be typed on a fresh machine: each one first does what it needs, once.
#
#   make demo TRIALS=5 SEED=1      block push with the shipped checkpoint, through the node graph
#   make test                      every test
#   make help                      the other targets

SHELL := /bin/bash

TASK ?= block_push
TRIALS ?= 5
SEED ?= 1
CHECKPOINT ?=
ARGS ?=
PRESET ?= cpu
BENCHMARKS ?= $(sort $(wildcard benchmarks/*.py))
PYTEST_ARGS ?=

# Settings of the programs that make would take for variables of its own, and never use.
$(foreach name,task trials seed checkpoint preset processes device,$(if \
	$(filter command line,$(origin $(name))),$(error make has no $(name)=: write TASK, TRIALS, SEED, \
	CHECKPOINT or PRESET in capitals, and every other setting as ARGS="$(name)=..."; make help)))

# Nothing of a run leaves the machine or the repository.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export ROS_LOG_DIR ?= $(CURDIR)/log/ros

IN_WORKSPACE := . ./env.sh && exec

# One target after the other, also with make -j: setup-dev and setup write the same folder.
.NOTPARALLEL:

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev build demo test lint format train bench clean distclean

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## Installs what running needs, into .venv/
	@scripts/setup.sh

setup-dev:
	@scripts/setup.sh --dev

build: setup ## Builds the packages that changed, with colcon
	@scripts/build.sh

demo: build ## Runs TRIALS trials through the node graph (TRIALS=5 SEED=1 ARGS="record:=false")
	@$(IN_WORKSPACE) run_stack task:=$(TASK) trials:=$(TRIALS) seed:=$(SEED) \
		$(if $(CHECKPOINT),checkpoint:=$(CHECKPOINT)) $(ARGS)

test: setup-dev build ## Runs every test, against the built packages (PYTEST_ARGS="-k name")
	@$(IN_WORKSPACE) scripts/test.sh $(PYTEST_ARGS)

lint: setup-dev ## Checks style, formatting and types
	@scripts/lint.sh

format: setup-dev ## Formats the code and mends what ruff can mend
	@.venv/bin/ruff check --quiet --fix . ; .venv/bin/ruff format --quiet .

train: build ## Trains from nothing to an exported checkpoint (TASK=block_push PRESET=cpu)
	@$(IN_WORKSPACE) twist-train all task=$(TASK) preset=$(PRESET) $(ARGS)

bench: build ## Prints short versions of the measurements; fails at the end if one missed its goal
	@. ./env.sh || exit 1; missed=; for benchmark in $(BENCHMARKS); do \
		echo "== $$benchmark"; python "$$benchmark"; code=$$?; \
		[ $$code -ne 130 ] || exit 130; \
		[ $$code -eq 0 ] || missed="$$missed $$benchmark"; \
	done; [ -z "$$missed" ] || { echo "did not measure, or missed the goal:$$missed" >&2; exit 1; }

clean: ## Removes what was built; keeps .venv/, runs/ and bags/
	@rm -rf build install log
	@find src test benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## Removes .venv/ as well
	@rm -rf .venv
