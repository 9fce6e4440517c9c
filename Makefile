# Every target sets up what it needs in .venv; nothing has to be installed by hand.
PYTHON ?= python3
# `make test TORCH=2.14.1`: the same with another torch than the pinned one, in an environment of its own.
TORCH  ?=
VENV   := .venv$(TORCH:%=-%)
BIN    := $(VENV)/bin
PINS   := $(if $(TORCH),$(VENV)/)constraints.txt
OUT    ?= out

.PHONY: demo test test-all soak fuzz core-only check bench coverage docs clean

# The main job on real data: two models trained, sampled and compared.
demo: $(VENV)/.run
	$(BIN)/leadline train pixelcnn --data digits --recipe demo --run $(OUT)/demo/pixelcnn --resume
	$(BIN)/leadline train mdrnn --data digits --recipe demo --run $(OUT)/demo/mdrnn --resume
	$(BIN)/leadline compare $(OUT)/demo/pixelcnn $(OUT)/demo/mdrnn --html $(OUT)/demo/report.html --json $(OUT)/demo/report.json

test: check
	$(BIN)/pytest -n 2

test-all: check
	CHECKED=leadline $(BIN)/pytest -n 2 -m "slow or not slow" --timeout 5400

# Generated networks with known verdicts, in parts: stopped at any time, it goes on where it was.
NETWORKS ?= 100000
JOBS     ?= 1
soak: $(VENV)/.dev
	$(BIN)/python tests/soak.py --networks $(NETWORKS) --jobs $(JOBS) --folder $(OUT)/soak

# A million mutated files for every reader together; stopped at any time, it goes on where it was.
INPUTS ?= 1000000
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz.py --inputs $(INPUTS) --folder $(OUT)/fuzz

# The wheel that is built from the sdist, in an environment without any extra.
core-only: $(PINS)
	rm -rf $(VENV)-core $(OUT)/dist
	$(PYTHON) -m venv $(VENV)-core
	$(VENV)-core/bin/pip install -q build
	$(VENV)-core/bin/python -m build -q --outdir $(OUT)/dist .
	$(VENV)-core/bin/pip uninstall -q -y build pyproject_hooks
	$(VENV)-core/bin/pip install -q -c $(PINS) $(OUT)/dist/*.whl
	LEADLINE=$(abspath $(VENV)-core/bin/leadline) tests/core_only.sh

# Lint, types and import layers.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every figure the documents quote, regenerated into benchmarks/results, and the pages that are made of them.
bench: $(VENV)/.dev
	$(BIN)/pip install -q -c $(PINS) -e '.[bench,census]'
	for script in $(filter-out benchmarks/intervals_that_cover.py,$(wildcard benchmarks/*.py)); do \
	  $(BIN)/python $$script || exit 1; done
	$(BIN)/python docs/figures.py
	$(BIN)/python docs/trials.py

# Whether stated intervals hold the truth, over 1,000 models a kind: half an hour and more; goes on where it stopped.
coverage: $(VENV)/.dev
	$(BIN)/python benchmarks/intervals_that_cover.py

docs: $(VENV)/.dev
	$(BIN)/pip install -q -c $(PINS) -e '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leadline needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# Another torch may need another sympy or setuptools than the pinned ones.
$(VENV)/constraints.txt: $(BIN)/pip constraints.txt
	sed -E 's/^torch==.*/torch==$(TORCH)/; /^(sympy|mpmath|setuptools)==/d' constraints.txt > $@

$(VENV)/.run: $(BIN)/pip pyproject.toml $(PINS)
	$(BIN)/pip install -q -c $(PINS) -e '.[train,report,fast]'
	touch $@

$(VENV)/.dev: $(BIN)/pip pyproject.toml $(PINS)
	$(BIN)/pip install -q -c $(PINS) -e '.[dev]'
	touch $@ $(VENV)/.run

clean:
	rm -rf .venv .venv-* $(OUT) docs/_build
