# make demo   install into .venv and start the demo
# make test   install and run every test
# make check  lint, types and layers
# make lock   write requirements.lock anew from pyproject.toml

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: install demo test check bench lock clean
.DEFAULT_GOAL := install

install: .venv/installed

demo: install
	@$(BIN)/assay demo

test: install
	@scripts/ensure-chromium
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache

bench: install
	@for script in ingest sdk queries search groups exports scorers scoring charts dashboard; do $(BIN)/python benchmarks/$$script.py || exit 1; done

lock: install
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-header --no-annotate --upgrade pyproject.toml -o requirements.lock

.venv/installed: pyproject.toml requirements.lock scripts/install
	@PYTHON="$(PYTHON)" scripts/install .venv
	@touch $@

clean:
	rm -rf .venv
