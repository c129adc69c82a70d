# The one entry to everything. `make serve` and `make test` work on a fresh checkout of a fresh machine.
# Targets install what they need: Python packages into .venv (pinned, hashes checked), Debian packages with apt-get.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := packaging/requirements.txt
DEV_LOCK := packaging/requirements-dev.txt
CONFIG ?= scaigrid.yaml

.PHONY: help install install-dev serve check test golden interop soak lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv with .venv/bin/scaigrid

install-dev: $(VENV)/.installed-dev  ## the same with the linters, the tests' packages and the mock upstream

$(VENV)/bin/python:
	@packaging/make-venv.sh "$(PYTHON)" "$(VENV)"

$(VENV)/.installed: $(LOCK) pyproject.toml | $(VENV)/bin/python
	@echo "installing the pinned packages into $(VENV) (about 20 s)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(DEV_LOCK) $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(DEV_LOCK)
	@touch $@

serve: install  ## run the gateway with scaigrid.yaml
	@exec $(BIN)/scaigrid serve -c $(CONFIG)

check: install-dev  ## every linter, type and architecture check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases --exclude 'make_model|interop/sdks' tests
	$(BIN)/lint-imports --no-cache

test: install-dev  ## the test suite
	@sh tests/support/install_aimock.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

golden: install-dev  ## rewrite the golden files and the generated docs; read the diff before committing
	SCAIGRID_GOLDEN=write $(BIN)/python -m pytest tests/appliance/formats tests/appliance/providers tests/config
	$(BIN)/python -m config.schema
	$(BIN)/python -m appliance.api.reference
	$(BIN)/python -m appliance.providers.reference

soak: install-dev  ## the slow proofs: 10,000 random sequences of ledger and limiter, 50 kill -9, 5 minutes of chaos
	SCAIGRID_SEQUENCES=10000 SCAIGRID_KILL_ROUNDS=50 SCAIGRID_CHAOS_S=300 SCAIGRID_WEIGHT_CALLS=10000 \
		$(BIN)/python -m pytest -o timeout=1800 \
		tests/appliance/state/test_ledger.py tests/appliance/state/test_limiter.py tests/scenarios/test_kill_storm.py \
		tests/scenarios/test_chaos.py tests/scenarios/test_weights.py

interop: install-dev  ## against a real inference server, and with Node SDKs, LangChain and an agent framework as clients
	@sh tests/interop/prepare_sdks.sh
	@sh tests/interop/prepare.sh
	$(BIN)/python -m pytest -p no:cacheprovider tests/interop

lock: install-dev  ## renew the locks from pyproject.toml: hashes, no URLs
	$(BIN)/uv pip compile pyproject.toml --group build --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file $(LOCK)
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file $(DEV_LOCK)

clean:  ## remove what the targets made; var/ stays
	rm -rf $(VENV) .toolbox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
