# Needs make and a Python >= 3.11, nothing else. Everything is installed into .venv (and .venvs) in this directory.
# PYTHON=/path/to/python3 chooses the Python that .venv is made with; WORKERS=8 the number of test processes.

BIN := .venv/bin
PYTHON ?=
WORKERS ?= 2
EXAMPLES ?= 2000
# A file's tests share programs: they stay together.
PYTEST := -m pytest -n $(WORKERS) --dist loadfile
BENCHMARKS := $(wildcard benchmarks/[!_]*.py)
# Tests start many programs, which would all compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo docs envs test test-all fuzz bench pins clean
.PRECIOUS: %/.made %/.run %/.envs %/.dev

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

demo: .venv/.run ## reproduce a published figure at reduced scale
	$(BIN)/pliant reproduce regression

envs: .venv/.envs ## install the simulators of the reinforcement-learning problems

docs: .venv/.dev ## build the documentation, into site/
	$(BIN)/python docs/_site/build.py

test: .venv/.dev ## format, lint, types, who imports whom, documentation, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/_site/build.py
	$(BIN)/python $(PYTEST)

test-all: ## the fast tests on each Python found, of 3.11, 3.12 and 3.13
	@set -e; tested=; missing=; \
	for version in 3.11 3.12 3.13; do \
		if ! python=$$(sh .ci/find-python $$version 2>/dev/null); then missing="$$missing $$version"; continue; fi; \
		echo "== Python $$version: $$python"; \
		$(MAKE) --no-print-directory .venvs/$$version/.dev PYTHON="$$python"; \
		.venvs/$$version/bin/python $(PYTEST) -m "not slow"; \
		tested="$$tested $$version"; \
	done; \
	echo "== passed on Python:$${tested:- none found}; not found:$${missing:- none}"; \
	test -n "$$tested"

fuzz: .venv/.dev ## try random words and files on the command line, and random networks; EXAMPLES=20000 tries more
	PLIANT_FUZZ=$(EXAMPLES) $(BIN)/python $(PYTEST) tests/cli/test_fuzz.py tests/tracing/test_random_networks.py

bench: .venv/.envs ## measure the numbers of docs/performance.md
	@set -e; for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python $$file; done

pins: ## renew constraints/ with the newest versions, for each Python found
	@set -e; for version in 3.11 3.12 3.13; do \
		python=$$(sh .ci/find-python $$version) || continue; \
		file=constraints/py$$(echo $$version | tr -d .).txt; \
		echo "== $$file"; \
		"$$python" -m venv --clear .venvs/pins; \
		.venvs/pins/bin/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'; \
		{ head -n 1 $$file; .venvs/pins/bin/python -m pip freeze --exclude-editable; } > .venvs/pins/new.txt; \
		mv .venvs/pins/new.txt $$file; \
	done

clean: ## remove environments and caches; runs/ stays
	rm -rf .venv .venvs .cache .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist site

# Each stamp says what was done to an environment: made, able to run, with simulators, able to develop. Interrupted work leaves none.
%/.made:
	@set -e; python="$(PYTHON)"; test -n "$$python" || python=$$(sh .ci/find-python $(filter 3.%,$(notdir $*))); \
	echo "Making $* with $$python"; "$$python" -m venv $*
	@touch $@

%/.run: pyproject.toml $(wildcard constraints/*.txt) | %/.made
	$(call install,$*,.[suite])

%/.envs: pyproject.toml $(wildcard constraints/*.txt) | %/.made
	$(call install,$*,.[envs])

%/.dev: pyproject.toml $(wildcard constraints/*.txt) | %/.made
	$(call install,$*,.[dev])

# A Python newer than the newest constraints file takes that file.
# Not compiled: Python does that when a module is first imported, and most never are.
define install
@set -e; pins=$$($(1)/bin/python -c 'import sys; print("constraints/py3%d.txt" % min(sys.version_info.minor, 13))'); \
echo "Installing $(2) into $(1) with $$pins"; \
$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-compile --constraint $$pins --editable '$(2)'
@touch $@
endef
