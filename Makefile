# What can be done here? `make help` lists it. Every target works as the only command typed on a fresh clone.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
BOT := .venv/installed-bot
DEV := .venv/installed-dev
BENCH := .venv-bench/installed
PEERS := .venv-bench/peers/installed

# $(call install,LOCK,ENVIRONMENT): uv where the machine has it, else the standard library's venv and pip; both check
# every hash of the lock.
define install
	@if command -v uv >/dev/null 2>&1; then \
	  echo "mainstay: installing $(1) with uv"; \
	  { [ -x $(2)/bin/python ] || uv venv --quiet --no-python-downloads --python '>=3.11' $(2); } && \
	  uv pip install --quiet --python $(2)/bin/python --require-hashes -r $(1) && \
	  uv pip install --quiet --python $(2)/bin/python --no-deps --no-build-isolation -e .; \
	else \
	  echo "mainstay: installing $(1) with pip"; \
	  { [ -x $(2)/bin/pip ] || python3 -m venv $(2); } && \
	  $(2)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1) && \
	  $(2)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
endef

$(BOT): requirements/bot.txt pyproject.toml
	$(call install,requirements/bot.txt,.venv)
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml
	$(call install,requirements/dev.txt,.venv)
	@touch $@ $(BOT)

$(BENCH): requirements/bench.txt pyproject.toml
	$(call install,requirements/bench.txt,.venv-bench)
	@touch $@

$(PEERS): bench/peers/package.json bench/peers/package-lock.json $(BENCH)
	@mkdir -p $(@D) && cp bench/peers/*.json $(@D)
	@if command -v npm >/dev/null 2>&1; then \
	  npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent; \
	else echo "mainstay: there is no npm, so PM2 is not measured"; fi
	@touch $@

.PHONY: run
run: $(BOT) ## start the service with its sandbox, supervised, in the foreground; Ctrl-C stops it
	@exec $(BIN)/mainstay run

.PHONY: test
# Three workers, also on two cores: tests from outside mostly wait for other processes. What is compiled is kept, whatever
# the environment says: each worker, and each of hundreds of processes, reads all of it.
test: $(DEV) ## run the tests (a few minutes)
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: check
check: $(DEV) ## lint, types, import contracts, spelling, generated references
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/codespell
	@$(BIN)/python -m mainstay.cli.reference --check
	@$(BIN)/python -m tests.agents.fault_matrix

.PHONY: bench
bench: $(BENCH) $(PEERS) ## measure, with peers in the same run (its own environment, 700 MB); nothing here is a test
	@.venv-bench/bin/python -m bench

.PHONY: soak
soak: $(DEV) ## the long, seeded forms of the tests of kills and of trouble
	@$(BIN)/python -m pytest -q -m soak --durations 0 -o faulthandler_timeout=0

.PHONY: reference
reference: $(DEV) ## write the generated pages of docs/reference
	@$(BIN)/python -m mainstay.cli.reference --write
	@$(BIN)/python -m tests.agents.fault_matrix --write

.PHONY: lock
lock: ## resolve the dependencies anew (needs uv)
	@for set in "build bot" "dev dev" "peers bench --constraint requirements/dev.txt"; do \
	  set -- $$set; group=$$1; file=$$2; shift 2; \
	  uv pip compile pyproject.toml --extra bot --group $$group "$$@" --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements/$$file.txt; done

.PHONY: clean
clean: ## remove what these targets made; what runs is ended first
	@if [ -x $(BIN)/mainstay ] && [ -d .mainstay ]; then $(BIN)/mainstay kill; fi
	@rm -rf .venv .venv-bench .mainstay .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'
