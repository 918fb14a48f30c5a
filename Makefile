# Everything runs in .venv, which this file makes from python3 alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-clients test-exports test-llm test-pythons lint bench bench-serving bench-decisions bench-drift bench-features bench-console bench-llm docs clean

help:  ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV)
	@touch $@

demo: $(STAMP)  ## The whole loop on the flights of 2013, in demo/
	@$(BIN)/trimtab demo flights --into demo

test: $(STAMP)  ## All tests
	@sh scripts/chromium.sh
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-unit: $(STAMP)  ## Tests of one process each, without servers: two minutes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/unit

test-clients: $(STAMP)  ## Clients of KServe and Feast against a gateway, MLflow's on a project, BentoML's models, all in .bench/; PICTURES=folder keeps pages
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh kserve mlflow feast bentoml
	@PYTHONPATH=tests $(BIN)/python -m clients.with_kserve .bench/kserve/bin/python
	@PYTHONPATH=tests $(BIN)/python -m clients.with_mlflow .bench/mlflow/bin/python $(PICTURES)
	@PYTHONPATH=tests $(BIN)/python -m clients.with_feast .bench/feast/bin/python
	@PYTHONPATH=tests $(BIN)/python -m clients.with_bento .bench/bentoml/bin/python

test-exports: $(STAMP)  ## Programs of the platforms load and run the files of trimtab export, each installed into .bench/
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh airflow dagster helm kfp google vertex
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests $(BIN)/python -m clients.with_gateway_image
	@PYTHONPATH=tests $(BIN)/python -m clients.with_helm .bench/helm/bin/python
	@PYTHONPATH=tests $(BIN)/python -m clients.with_airflow .bench/airflow/bin/python
	@PYTHONPATH=tests $(BIN)/python -m clients.with_dagster .bench/dagster/bin/python
	@PYTHONPATH=tests $(BIN)/python -m clients.with_kfp .bench/kfp/bin/python
	@sh scripts/bench_linters.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh ci
	@PYTHONPATH=tests $(BIN)/python -m clients.with_ci .bench/ci/bin .bench/linters .bench/ci-logs
	@PYTHONPATH=tests $(BIN)/python -m clients.with_google .bench/google/bin/python
	@PYTHONPATH=tests $(BIN)/python -m clients.with_vertex .bench/vertex/bin/python

test-llm: $(STAMP)  ## A small language model answers through the gateway, its libraries and weights installed into .bench/
	@PATH="$(CURDIR)/$(BIN):$$PATH" UV_OVERRIDE=tests/clients/smollm_overrides.txt sh scripts/bench_venvs.sh smollm
	@OMP_NUM_THREADS=1 .bench/smollm/bin/python tests/clients/smollm_base.py .bench/smollm2-135m
	@PYTHONPATH=tests $(BIN)/python -m clients.with_smollm .bench/smollm/bin/python .bench/smollm2-135m

test-pythons: $(STAMP)  ## Install, run, up and replay on every Python from 3.11 on that this machine has
	@PATH="$$PATH:$(CURDIR)/$(BIN)" sh scripts/test_pythons.sh

lint: $(STAMP)  ## Style, types, floors
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(STAMP)  ## Headline figures beside one peer each
	@$(BIN)/python -m benchmarks

bench-serving: $(STAMP)  ## The gateway beside its peers, each installed into .bench/ (needs wrk); BENCH="--seconds 1" passes options
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh
	@$(BIN)/python -m benchmarks.serving $(BENCH)

bench-decisions: $(STAMP)  ## Policies on eleven real streams, in money; data into .bench/; BENCH="--quick" takes ten minutes
	@PYTHON="$(CURDIR)/$(BIN)/python" sh scripts/bench_data.sh
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.decisions $(BENCH)

bench-drift: $(STAMP)  ## False alarms, power and cost of drift detection; data into .bench/; BENCH="--full" takes hours
	@PYTHON="$(CURDIR)/$(BIN)/python" sh scripts/bench_data.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh evidently || true
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.drift $(BENCH)

bench-features: $(STAMP)  ## Joins, windows, online store, feature server, streams, beside Feast; BENCH="--events 1e6 1e7" for larger ones
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh feast || true
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.features $(BENCH)

bench-console: $(STAMP)  ## Pages in Chromium, memory of the console, the gateway beside 50 viewers; BENCH=FOLDER, demo by default
	@$(BIN)/python -m benchmarks.console $(BENCH)

bench-llm: $(STAMP)  ## What the gateway of prompts adds to a call, beside litellm in .bench/; BENCH="--rounds 2" passes options
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/bench_venvs.sh litellm || true
	@$(BIN)/python -m benchmarks.llm $(BENCH)

docs: $(STAMP)  ## Check that the documents hold: commands, links, README examples
	@$(BIN)/python -m pytest -q tests/unit/docs

clean:  ## Remove the environments and the demo
	rm -rf $(VENV) .bench demo
