# make demo    set up what is missing, run the main job, print what came out     SEEDS='400 404', EXPERT=1, BAG=dir, SOURCE=synthetic
# make test    set up what is missing, run all tests                              ARGS='test/framing -k grid'
# make help    all targets
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

env := . scripts/env.sh
sources := $(shell find msg restac_ros launch config resource -type f -not -path '*/__pycache__/*') CMakeLists.txt package.xml
built := install/.restac-built
checkpoint := runs/checkpoints/tiny
cell_checkpoint := policies/cell
task := insert the plug into the socket
BAG ?=
SOURCE ?= $(if $(BAG),bag,sim)
# Scenes in which the policy succeeded when it was evaluated.
SEEDS ?= 400 404 410
EXPERT ?=
VIEW ?=
ARGS ?=
# Test processes: more would disturb each other's streams.
JOBS ?= 2

.PHONY: help setup build demo policy tutorial test stress lint lock clean
.NOTPARALLEL:

help:    ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup:   ## make .venv with all dependencies (a ROS 2 underlay where none is sourced; GPU=none, cuda12 or cuda13: not as the driver says)
	@scripts/setup.sh

build: setup $(built)    ## generate the messages and install the package into install/

$(built): $(sources)
	@echo -e '\033[1m[build]\033[0m colcon build'
	@rm -rf install/restac_ros    # else modules that are no more stay installed
	@$(env) && colcon --log-base log build --base-paths .
	@touch $@

$(checkpoint):
	@echo -e '\033[1m[demo]\033[0m a tiny random checkpoint, for trying the runtime'
	@$(env) && restac-ros init-checkpoint --preset tiny --contract config/contract.yaml --to $@

# The cell at half of real time, so that a busy machine loses no frames.
demo: build $(if $(filter sim,$(SOURCE)),,$(checkpoint))    ## a policy inserts a plug by feel in the simulated cell, through all nodes, recorded; EXPERT=1: the scripted expert does, BAG=dir plays a bag, SOURCE=synthetic test patterns, VIEW=1 also in a window
ifeq ($(SOURCE),sim)
	@run=runs/demo/$$(date +%Y-%m-%dT%H-%M-%S); $(env); set -- $(SEEDS); \
	for seed; do \
	  echo -e "\033[1m[demo]\033[0m scene $$seed"; \
	  restac-ros up --source sim $(if $(EXPERT),--expert,--execute) $(if $(VIEW),--window) --seed $$seed --rate 0.5 \
	    --checkpoint $(cell_checkpoint) --prompt '$(task)' --record $$run/dataset --log $$run/log --run-dir $$run/$$seed $(ARGS); \
	done; \
	logs=($$run/log/*/) journals=($$run/dataset.journals/*/); \
	restac-ros view "$${logs[-1]}" "$${journals[-1]}" --mp4 $$run/demo.mp4; \
	echo "inserted in $$(cat $$run/*/sim_node.json | grep -c '"inserted": true' || true) of $$# scenes"
else
	@$(env) && restac-ros up --checkpoint $(checkpoint) --prompt '$(task)' \
	  --record runs/datasets/demo$(if $(BAG),-bag) $(if $(BAG),--bag '$(BAG)',--source $(SOURCE)) $(ARGS)
endif

# Who sees learns to feel; the control goes on seeing, for longer. Every line goes on where it was interrupted.
policy: build    ## demonstrations, training, calibration and evaluation of the cell's policy, with and without touch, in runs/policy: under 3 hours on two cores
	@mkdir -p runs/policy && cd runs/policy && . ../../scripts/env.sh \
	  && data='--data.datasets data more --loader.cache cache' \
	  && restac-ros sim record --to data --episodes 80 \
	  && restac-ros sim record --to more --episodes 80 --first-seed 1001000 \
	  && restac-ros train cell_no_touch $$data --to sees \
	  && restac-ros train-tactile data more --size tiny --codebook.codes 128 --encoder-steps 600 --prophet-steps 300 --event-steps 1500 --loader.cache cache --to tactile \
	  && restac-ros train cell $$data --init sees/checkpoint-2000 --unit-align tactile/unit_align --optimizer.peak 1e-3 --steps 1500 --to feels \
	  && restac-ros sim record --to fresh --episodes 10 --first-seed 2000000 \
	  && { [ -d gated ] || restac-ros calibrate feels/checkpoint-1500 fresh --to gated; } \
	  && restac-ros train cell $$data --init gated --optimizer.peak 1e-3 --steps 4500 --to feels_on \
	  && { [ -d cell ] || restac-ros calibrate feels_on/checkpoint-4500 fresh --to cell; } \
	  && restac-ros train cell_no_touch $$data --init sees/checkpoint-2000 --optimizer.peak 1e-3 --steps 7500 --to control \
	  && rm -rf without_touch && cp -r control/checkpoint-7500 without_touch \
	  && restac-ros sim evaluate cell without_touch --first-seed 300 --conditions 'as it is' 'touch shuffled' 'gate 0' 'gate 1' --videos 300 301 302 --to evaluation \
	    --card cell/README.md --data data more fresh

tutorial: build    ## execute docs/tutorial.md, from demonstrations to a policy that runs, in runs/tutorial: about half an hour on two cores
	@mkdir -p runs && $(env) && pytest -s --basetemp runs/tutorial -o tmp_path_retention_policy=all test/documentation/tutorial.py

test: build    ## run the tests, two files at a time (JOBS=1: one); ARGS is handed to pytest
	@$(env) && pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

stress: build    ## kill, cut and damage at random, for 12 minutes; ARGS='crash --count 5' or 'fuzz --case 7': only that
	@$(env) && if [ -n "$(ARGS)" ]; then python test/stress $(ARGS); else python test/stress fuzz && python test/stress crash; fi

lint: setup    ## check format, style, types and the links of the documentation
	@$(env) && ruff format --check --quiet . && ruff check . && mypy && pytest -q test/test_docs.py

lock: setup    ## resolve pyproject.toml anew into requirements.lock
	@scripts/lock.sh

clean:   ## remove what build and set-up made; runs/ (your data) stays
	rm -rf build install log .venv
