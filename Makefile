# Everything is set up from here with Python >= 3.11 and make; `make` alone lists the targets.

PYTHON ?= $(shell scripts/pick-python)
ARGS ?=

PYTHON := $(PYTHON)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
UV_VERSION := 0.13.8

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench bench-quick ceph versitygw e2e-ceph e2e-versitygw thorough differential extended \
	wheel lock clean moved

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv and install the locked dependencies (the others do it for you)

# The stamp holds the folder it was made in: a moved or copied tree has a .venv full of stale paths, and starts again.
ifneq ($(wildcard $(READY)),)
ifneq ($(shell cat $(READY)),$(CURDIR))
$(READY): moved
endif
endif

moved:
	@rm -rf $(VENV)

$(READY): requirements/test.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "Sterna needs Python 3.11 or newer, and there is no '$(PYTHON)' here." \
			"Install it, or name yours: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Sterna needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
			"Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: its venv or ensurepip module is missing." \
			"On Debian and Ubuntu: apt install python3-venv. Then run make again." >&2; exit 1; }
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "making $(VENV) with $$($(PYTHON) --version 2>&1)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing the locked dependencies into $(VENV)"
	@$(PY) -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r requirements/test.txt
	@$(PY) -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(PY) -m compileall -q src  # as an install from a wheel does: else each start may compile all of it, in 0.1 s
	@printf '%s\n' "$(CURDIR)" > $@

demo: $(READY) ## see it work: a folder to an embedded S3 server and back, compared byte by byte
	$(VENV)/bin/sterna demo $(ARGS)

test: $(READY) ## the default test suite (ARGS="-k name" and the like are passed on)
	$(PY) -m pytest $(ARGS)

lint: $(READY) ## ruff, the format, mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(READY) ## rewrite the sources as lint wants them
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(READY) ## measure against s5cmd, rclone and aws-cli, side by side
	$(PY) benchmarks/bench.py $(ARGS)

bench-quick: $(READY) ## the same, small, in a minute or two
	$(PY) benchmarks/bench.py --quick $(ARGS)

# A plain line instead of a failure where the machine cannot have the server.
can-ceph = command -v radosgw >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
no-ceph = echo "SKIPPED ceph: its packages need root and apt (Debian or Ubuntu)"
can-versitygw = command -v go >/dev/null 2>&1 || command -v versitygw >/dev/null 2>&1
no-versitygw = echo "SKIPPED versitygw: there is no Go here to build it with"

ceph: $(READY) ## install Ceph RGW from Debian's packages
	@if $(can-ceph); then $(PY) -m tests.servers.install ceph; else $(no-ceph); fi

versitygw: $(READY) ## build versitygw with Go
	@if $(can-versitygw); then $(PY) -m tests.servers.install versitygw; else $(no-versitygw); fi

e2e-ceph: $(READY) ## the end-to-end tests against Ceph RGW, installed first
	@if $(can-ceph); then $(PY) -m tests.servers.install ceph && $(PY) -m pytest tests/e2e -m "not extended" --servers ceph $(ARGS); else $(no-ceph); fi

e2e-versitygw: $(READY) ## the end-to-end tests against versitygw, built first
	@if $(can-versitygw); then $(PY) -m tests.servers.install versitygw && $(PY) -m pytest tests/e2e -m "not extended" --servers versitygw $(ARGS); else $(no-versitygw); fi

thorough: $(READY) ## whole commands in many ways: plans, deletions, names, copies, limits
	$(PY) -m pytest -m "thorough and not extended" $(ARGS)

# 75 is what the installer says where it could not have aws-cli; any other failure is one.
differential: $(READY) ## the same data synced by Sterna and by aws-cli, installed first: what both leave behind compared
	@$(PY) -m tests.differential.aws; case $$? in \
		0) $(PY) -m pytest -m differential tests/differential $(ARGS) ;; \
		75) ;; \
		*) exit 1 ;; \
	esac

extended: $(READY) ## the tests that take minutes: larger property budgets, crashes, soak
	$(PY) -m pytest -m extended --timeout=1800 -o faulthandler_timeout=1750 $(ARGS)

wheel: $(READY) ## build dist/sterna-*.whl
	@rm -rf dist
	$(PY) -m hatchling build -t wheel

# uv only writes the locks; nothing else needs it. What runs is what was tested: run.txt takes the versions of test.txt.
# ARGS=--upgrade takes the newest releases.
LOCK := --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock"

lock: ## write requirements/*.txt anew from pyproject.toml
	@test -x .build/uv/bin/python || $(PYTHON) -m venv .build/uv
	@.build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	.build/uv/bin/uv pip compile --quiet $(LOCK) $(ARGS) pyproject.toml --group dev -o requirements/test.txt
	.build/uv/bin/uv pip compile --quiet $(LOCK) $(ARGS) pyproject.toml -c requirements/test.txt -o requirements/run.txt

clean: ## remove .venv and everything built
	rm -rf $(VENV) .build dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
