# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test fuzz soak mutants bench lint docs package clean

demo: $(VENV)/.installed
	$(BIN)/chunkscale demo chunkscale-demo

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST)

# Of a campaign: for so many seconds.
TIME ?= 600
SEED ?= 0

# Damaged stores.
fuzz: $(VENV)/.tested
	$(BIN)/python tests/campaigns/fuzz.py --seconds $(TIME) --seed $(SEED)

# Random valid jobs, each compared voxel by voxel.
soak: $(VENV)/.tested
	$(BIN)/python tests/campaigns/soak.py --seconds $(TIME) --seed $(SEED)

# Small mistakes in the code, and whether the tests notice them: half an hour on one core.
mutants: $(VENV)/.tested
	$(BIN)/python tests/campaigns/mutants.py $(WORDS)

# Every benchmark that asv tracks, once: does it run? What one run took says little.
bench: $(VENV)/.benched
	$(BIN)/asv machine --config asv_bench/asv.conf.json --yes > /dev/null
	$(BIN)/asv run --config asv_bench/asv.conf.json --quick --python=same --show-stderr

lint: $(VENV)/.linted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every warning is an error: a link that leads nowhere, a name that is not there.
docs: $(VENV)/.documented
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The wheel is installed beside the dependencies that are there; `make package CLEAN=1` installs these anew.
package: $(VENV)/.packaged
	$(BIN)/python .ci/package.py $(if $(CLEAN),--clean)

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed; set PYTHON=') if sys.version_info < (3, 11) else 0"
	$(PYTHON) -m venv $(VENV)

# Each installs all that it needs at once: pip takes long to choose versions.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[plot]'
	touch $@

$(VENV)/.tested: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(VENV)/.installed $@

$(VENV)/.documented: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $(VENV)/.installed $@

$(VENV)/.packaged: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[package]'
	touch $(VENV)/.installed $@

$(VENV)/.benched: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $(VENV)/.installed $@

$(VENV)/.published: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[bench,docs,package,test]'
	touch $(VENV)/.benched $(VENV)/.installed $(VENV)/.tested $(VENV)/.documented $(VENV)/.packaged $@

$(VENV)/.linted: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.benched $(VENV)/.installed $(VENV)/.tested $@

clean:
	rm -rf $(VENV) chunkscale-demo dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
