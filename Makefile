# Everything a person types. `make` alone lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PIP_INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet

PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run demo demo-destinations test acceptance lint check bench bench-destinations format clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

run: $(RUN_STAMP) ## install what is needed, write a first .env if there is none, start the service
	@exec $(VENV)/bin/python -m connector up

demo: $(RUN_STAMP) ## play the example events, signed, at the running service and show where they arrived
	@$(VENV)/bin/python -m connector demo $(DEMO_ARGS)

demo-destinations: $(DEV_STAMP) ## run every destination against a server on this machine and count what arrives
	@$(VENV)/bin/python -m demos $(DEMO_ARGS)

test: $(DEV_STAMP) ## unit, contract and integration tests (under five minutes)
	$(VENV)/bin/python -m pytest tests --ignore=tests/acceptance $(PYTEST_ARGS)

acceptance: $(DEV_STAMP) ## real processes, killed in the middle of their work (some minutes)
	$(VENV)/bin/python -m pytest tests/acceptance $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## formatting, lint and strict types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

check: lint test ## what the build runs: lint, then test

bench: $(DEV_STAMP) ## measure, and print the figures beside their targets
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

bench-destinations: $(DEV_STAMP) ## ten destinations, four of them ill: what the healthy ones lose by it
	$(VENV)/bin/python -m benchmarks.ten_destinations $(BENCH_ARGS)

format: $(DEV_STAMP) ## format the code, mend what lint can mend
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## remove the environment and the caches; .env, connector.yaml and data/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make the second start quick: nothing is installed until a requirements file changes.
$(RUN_STAMP): requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and no python3 was found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Install it, or name it: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks its venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(VENV)/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the packages of requirements.txt into $(VENV) …"
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(DEV_STAMP): $(wildcard requirements-*.txt) $(RUN_STAMP)
	@echo "Installing the packages of requirements-dev.txt into $(VENV) …"
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@
