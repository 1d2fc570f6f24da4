# `make train` and `make test` need Python 3.11 and nothing else; what they install goes to .venv.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: setup train test lint format lock clean

setup: $(STAMP)

# The lock file names every package, so pip resolves nothing (--no-deps); older ones, asked for
# coverage[toml], would take a newer coverage than the one that is locked, and refuse it for its hash.
# A finished install leaves the stamp; a changed lock file or setup.cfg makes it stale.
$(STAMP): requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "segkit needs Python 3.11. Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Arguments of the command go into ARGS: make train ARGS="loss=cross_entropy seed=1"
train: setup
	$(BIN)/segkit train $(ARGS)

test: setup lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: setup
	$(BIN)/black --quiet --check --line-length 100 segkit scripts tests conf
	$(BIN)/isort --quiet --check segkit scripts tests conf
	$(BIN)/flake8 segkit scripts tests conf

format: setup
	$(BIN)/black --quiet --line-length 100 segkit scripts tests conf
	$(BIN)/isort --quiet segkit scripts tests conf

# Resolves setup.cfg anew, keeping versions that still fit; delete requirements.lock for the newest.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet pip-tools
	.venv-lock/bin/pip-compile --quiet --extra dev --allow-unsafe --strip-extras --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-options --no-header \
	  --output-file requirements.lock setup.cfg
	rm -r .venv-lock

clean:
	rm -rf .venv build dist *.egg-info
