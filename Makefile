# make bench   set up .venv and compress resnet18 on the embedded data
# make test    set up and run every test, in three processes, since some wait
# make check   format, lint, types and tests
# make docs    build the site of README, tutorial, cards, studies and API into site/; a broken link fails
# make kernels check and time the GPU kernels; needs a GPU and nvcc
# make gpu     all that a GPU is needed for: tests, kernels, resnet18 on CIFAR-10; goes on where it stopped
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH :=
export MPLBACKEND := Agg
# compiled modules are kept: every process that a run or a test starts would compile them again
export PYTHONDONTWRITEBYTECODE :=

.PHONY: bench test lint check docs kernels gpu format setup setup-dev setup-docs clean

bench: setup
	$(BIN)/python run_bench.py --methods dct,qat,prune --net resnet18

test: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

docs: setup-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "open site/index.html"

kernels: setup
	$(BIN)/python -m cuda_kernels

gpu: setup-dev
	$(BIN)/python -m bench.on_gpu

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev
setup-docs: $(VENV)/.installed-docs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) and "Python 3.11 is needed, $(PYTHON) is %d.%d: run make PYTHON=/path/to/python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)/.installed-docs: requirements-docs.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

clean:
	rm -rf $(VENV) site
