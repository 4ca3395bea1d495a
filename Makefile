# `make` lists the targets. PYTHON=python3.12 picks another interpreter (3.11 to 3.13), VENV=DIR another place.
PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed
RUN := runs/digits

# Candidates are small: a second thread per process costs more than it brings, and workers share the cores.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help install discover test test-slow lint format bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make the virtual environment (the other targets do so by themselves)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	    f"symloss needs Python 3.11 or newer; $(PYTHON) is {v.major}.{v.minor}: try make PYTHON=python3.12")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev,data]"
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-deps arfs
	$(VENV)/bin/python -m symloss.population.preparation float32
	$(VENV)/bin/python -m symloss.losses.rows float32
	touch $@

discover: $(STAMP)  ## discover a loss on the digits, then show it (two minutes on two cores)
	$(VENV)/bin/symloss discover digits --population 25 --generations 20 --seed 0 --jobs 2 --out $(RUN) --overwrite
	$(VENV)/bin/symloss show $(RUN)

test: $(STAMP)  ## run the fast tests
	$(VENV)/bin/python -m pytest -m "not slow" -n 2 --cache-clear

test-slow: $(STAMP)  ## run the slow tests
	$(VENV)/bin/python -m pytest -m slow -n 2

lint: $(STAMP)  ## check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMP)  ## repair style and formatting
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(STAMP)  ## measure the speed of the search, of the losses, of landscapes, of reports, of adaptive steps and of few-shot learners
	$(VENV)/bin/python -m benchmarks.search
	$(VENV)/bin/python -m benchmarks.losses
	$(VENV)/bin/python -m benchmarks.landscape
	$(VENV)/bin/python -m benchmarks.report
	$(VENV)/bin/python -m benchmarks.online
	$(VENV)/bin/python -m benchmarks.fewshot

clean:  ## remove the virtual environment and the caches, but no runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
