# Everything a person or CI runs. The first run of a target installs what it needs into .venv;
# later runs find it there and need no network.
#
#   make demo PYTHON=python3.12              another interpreter (3.11 to 3.13)
#   make demo TORCH='torch==2.13.0'          which torch to install where none is found
#   make test PYTEST_ARGS='-m "not slow"'    part of the tests
#   make serve SERVE_ARGS='--port 8000'      flags of the server

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
PYTEST_ARGS ?=
SERVE_ARGS ?=

export PYTHON TORCH VENV

BIN := $(VENV)/bin

.PHONY: help demo test clients serve lint format doctor clean runtime dev
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: runtime ## run a structured program on the embedded model
	$(BIN)/python examples/quick_start.py

test: dev ## run every test but those that fetch a second model (PYTEST_ARGS='-m gemma')
	$(BIN)/python -m pytest -m "not gemma" $(PYTEST_ARGS)

clients: ## run the clients and load tools of others against the server, in .venv-clients
	@VENV=.venv-clients scripts/install.sh dev,clients
	.venv-clients/bin/python -m pytest -p no:dash -m clients tests/clients $(PYTEST_ARGS)

serve: runtime ## serve the embedded model on http://127.0.0.1:30000
	$(BIN)/python -m sglang_lang.launch_server $(SERVE_ARGS)

lint: dev ## formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

format: dev ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

doctor: runtime ## say what this machine has, what is missing and what that costs
	$(BIN)/sglang-lang doctor

clean: ## remove the virtual environments and the tools' caches
	rm -rf $(VENV) .venv-clients .pytest_cache .mypy_cache .ruff_cache .hypothesis

runtime: ## install what serving needs
	@scripts/install.sh runtime

dev: ## install what the tests need as well
	@scripts/install.sh dev
