# Everything a person does with this checkout. `make help` lists it; every target installs what it needs.

VENV := .venv
PYTHON := $(VENV)/bin/python
# A stamp lies inside the environment, so that deleting the environment also forgets what was installed in it.
LOCAL := $(VENV)/installed-local
DEV := $(VENV)/installed-dev
DOCS := $(VENV)/installed-docs
DEMO_PATHS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check dependencies bench migrate docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(LOCAL) ## Create .venv and install what one machine needs

demo: $(LOCAL) ## Send photos through the whole service and back; DEMO_PATHS="a.jpg b/" takes your own
	@$(VENV)/bin/misc demo $(DEMO_PATHS)

up: $(LOCAL) ## Run the whole service on this machine until Ctrl-C
	@$(VENV)/bin/misc up

# The process tests measure seconds, so they come after the others have left the cores alone.
test: $(DEV) ## Run every test: real Redis, PostgreSQL, S3 server and worker processes
	@$(PYTHON) -m tests.s3_server.install
	@$(PYTHON) -m tests.ocfl_validator.install
	@$(PYTHON) -m pytest -n 2 tests --ignore tests/e2e
	@$(PYTHON) -m pytest tests/e2e

check: $(DEV) ## Lint, types, layering, deployment files
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(PYTHON) -m pytest tests/unit/deploy tests/unit/layering tests/integration/deploy

dependencies: $(DEV) ## List what is installed as build/sbom.json, and ask which of it has known weaknesses
	@$(PYTHON) deploy/dependencies.py build

bench: $(DEV) ## Measure jobs per second of the service beside bare Celery
	@$(PYTHON) -m bench.service

migrate: $(LOCAL) ## Bring the database of MISC_DATABASE_URL up to date
	@$(PYTHON) -m migrations

docs: $(DOCS) ## Build the documentation as a site in build/site
	@$(VENV)/bin/mkdocs build --quiet --strict
	@echo 'build/site/index.html'

clean: ## Remove caches, build output and what the demo left; .venv stays
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info demo-out
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# A name on the PATH may be a launcher that cannot start anything, so each candidate is tried before it is taken.
$(PYTHON):
	@for candidate in $$MISC_PYTHON python3.12 python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	      >/dev/null 2>&1; then \
	    echo "Creating $(VENV) with $$candidate"; \
	    exec "$$candidate" -m venv $(VENV); \
	  fi; \
	done; \
	echo 'Python 3.11 or 3.12 with its venv module is needed; name one with MISC_PYTHON=/path/to/python.' >&2; \
	exit 1

$(LOCAL): pyproject.toml | $(PYTHON)
	@echo 'Installing what one machine needs: 6 GB the first time, most of them PyTorch with its libraries for GPUs'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input --editable '.[local]'
	@touch $@

$(DOCS): pyproject.toml | $(PYTHON)
	@echo 'Installing what makes the documentation'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input --editable '.[docs]'
	@touch $@

$(DEV): pyproject.toml | $(PYTHON)
	@echo 'Installing what the tests need: 7 GB the first time, most of them PyTorch with its libraries for GPUs'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input --editable '.[dev]'
	@touch $@ $(LOCAL) $(DOCS)
