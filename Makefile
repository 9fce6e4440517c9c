# Every target sets up what it needs in .venv; nothing has to be installed by hand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= out

.PHONY: demo test test-all check bench docs clean

# The main job on real data: two models trained, sampled and compared.
demo: $(VENV)/.run
	$(BIN)/leadline train pixelcnn --data digits --recipe demo --run $(OUT)/demo/pixelcnn --resume
	$(BIN)/leadline train mdrnn --data digits --recipe demo --run $(OUT)/demo/mdrnn --resume
	$(BIN)/leadline compare $(OUT)/demo/pixelcnn $(OUT)/demo/mdrnn --html $(OUT)/demo/report.html --json $(OUT)/demo/report.json

test: check
	$(BIN)/pytest -n 2

test-all: check
	$(BIN)/pytest -n 2 -m "slow or not slow" --timeout 5400

# Lint, types and import layers.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every figure the documents quote, regenerated into benchmarks/results.
bench: $(VENV)/.dev
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leadline needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[train,report,fast]'
	touch $@

$(VENV)/.dev: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) $(OUT) docs/_build
