# Two commands: `make serve` and `make test`. Everything is built into .venv from pinned hashes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Whatever the environment says: without it, each of the many processes that a test run starts would
# compile the whole program, which takes longer than to import it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install serve test oracle check format asyncapi lock bench

help:  ## Say what can be made
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## Build .venv

serve: install  ## Serve http://127.0.0.1:8000, on an embedded PostgreSQL unless DATABASE_URL is set
	@exec $(BIN)/eventmanager serve $(ARGS)

# Two processes for each processor, since many tests wait for something else.
test: install  ## Run every test on a real PostgreSQL
	$(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(min(4, 2 * (os.cpu_count() or 1)))') --dist loadfile --no-loadscope-reorder $(ARGS)

oracle: install  ## Compare 20,000 random recurrence rules with two other engines
	$(BIN)/python -m tests.recurrence.oracle

check: install  ## Format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## Format the code and sort its imports
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

asyncapi: install  ## Write asyncapi.yaml anew, from the models of what goes over the WebSocket
	$(BIN)/python -m eventmanager.realtime.asyncapi > asyncapi.yaml

lock: install  ## Renew the pinned versions and hashes
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links --quiet --upgrade -o requirements/main.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet --upgrade \
		-c requirements/main.lock -o requirements/dev.lock

bench: install  ## Compare with a plain implementation; see bench/README.md
	$(BIN)/python bench/compare.py $(ARGS)

# uv takes seconds where pip takes most of a minute, but knows nothing of a registry or a certificate
# that is only set for pip: then pip itself does it.
$(VENV)/.installed: requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Event Manager needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing into $(VENV)"
	@UV_SYSTEM_CERTS=1 UV_HTTP_RETRIES=1 UV_HTTP_TIMEOUT=20 $(BIN)/uv pip sync --quiet \
		--python $(BIN)/python --require-hashes requirements/dev.lock 2> $(VENV)/uv.log || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . \
		2>> $(VENV)/uv.log || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
