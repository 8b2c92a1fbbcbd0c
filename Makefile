# Every target sets itself up: a virtual environment, the CPU build of torch, the package, then the job.
# `make demo` and `make test` need Python 3.11 and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
# Pinned and first: a later resolution would pull gigabytes of CUDA. Override for another build of it.
TORCH ?= torch==2.13.0
# A peer of the benchmarks that pins another fsspec than Dagster's side does, so it gets an environment of its own.
PEERS ?= .venv-peers
NAUTILUS ?= nautilus_trader==1.221.0
WORKERS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test dev train lint format bench bench-peers docs soak clean help

help:
	@echo "make demo    the whole route on the simulated market, verdicts printed"
	@echo "make test    lint, types, every test"
	@echo "make dev     the Dagster UI on http://127.0.0.1:3000, reports on 3001, MLflow on 3002"
	@echo "make train COIN=BTC EPOCHS=20"
	@echo "             fetch what is missing and train the models of one coin"
	@echo "make bench   speed against peers          make soak    long runs: ten seeds, a 50-million-row day"
	@echo "make bench-peers   once before it: nautilus_trader, in an environment of its own"
	@echo "make docs    the generated documents      make clean   remove the virtual environment and the state"

$(READY): pyproject.toml constraints.txt
	@echo "== setting up $(VENV): about two minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@echo "== installing $(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@echo "== installing crpbot-dagster and what it needs, versions from constraints.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(READY)

demo: $(READY)
	@echo "== demo: raw -> bars -> features -> models -> evaluations -> promotion, on the sandbox"
	@$(BIN)/crpbot demo

lint: $(READY)
	@echo "== lint and types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: lint
	@echo "== tests"
	@$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

dev: $(READY)
	@$(BIN)/crpbot dev

train: $(READY)
	@$(BIN)/crpbot train $(or $(COIN),$(error name a coin: make train COIN=BTC EPOCHS=20))$(if $(EPOCHS), --epochs $(EPOCHS))

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY)
	@$(BIN)/python -m benchmarks --nautilus $(PEERS)/bin/python

bench-peers:
	@echo "== installing $(NAUTILUS) into $(PEERS)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $(NAUTILUS)

soak: $(READY)
	@$(BIN)/python -m pytest -m soak -s

docs: $(READY)
	@$(BIN)/python -m crpbot_dagster.docs

clean:
	@rm -rf $(VENV) $(PEERS) .crpbot
