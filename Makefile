# Everything needs Python 3.11 or later. `make test` installs Java, Maven, Chromium and Prometheus
# with apt where it can, and skips the tests of what is still missing.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= config.toml
ARGS ?=
KAFKA_LIBS := .cache/kafka/libs

# Compiled bytecode halves the start-up time, so nothing here may switch it off.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "volsvc needs Python 3.11 or later: apt-get install python3, or PYTHON=/path/to/it"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "apt-get install python3-venv, then try again"; exit 1; }

# What has been installed is noted in a stamp; a larger set serves for the smaller ones too.
$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	@test $(VENV)/.test -nt pyproject.toml || test $(VENV)/.dev -nt pyproject.toml \
	  || sh tests/install-python.sh $(BIN)/python mlflow
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@test $(VENV)/.dev -nt pyproject.toml || sh tests/install-python.sh $(BIN)/python test
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	sh tests/install-python.sh $(BIN)/python dev
	@touch $@

# Machine code of the kernels, beside their sources, where every process of every user finds it. It
# takes a second when nothing that was compiled has changed.
$(VENV)/.%-kernels: $(VENV)/.% $(shell find volsvc -name '*.py')
	@$(BIN)/volsvc warmup
	@touch $@

.PHONY: run
run: $(VENV)/.run-kernels ## Run the daemon on generated ticks; ARGS='--path FILE --speed 10' for a recording
	$(BIN)/volsvc run --config $(CONFIG) $(ARGS)

.PHONY: kafka
kafka: $(KAFKA_LIBS)/.complete ## Fetch the broker that the Kafka tests start

$(KAFKA_LIBS)/.complete: tests/kafka/pom.xml tests/install-system.sh
	@sh tests/install-system.sh java=default-jre-headless mvn=maven kcat=kcat
	@if command -v mvn >/dev/null; then \
	  mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
	    -DoutputDirectory=$(CURDIR)/$(KAFKA_LIBS) && touch $@; fi

.PHONY: chromium
chromium:
	@command -v google-chrome >/dev/null || sh tests/install-system.sh chromium=chromium

.PHONY: prometheus
prometheus:
	@sh tests/install-system.sh prometheus=prometheus promtool=prometheus \
	  prometheus-alertmanager=prometheus-alertmanager amtool=prometheus-alertmanager

# Compose's own loader, actionlint, kustomize: Go programs, built once.
.PHONY: linters
linters: .cache/lint/.complete ## Build the linters of deploy/ and .github/ that are Go programs

.cache/lint/.complete: $(BIN)/python $(wildcard tests/deploy/tools/*)
	@sh tests/install-system.sh systemd-analyze=systemd
	sh tests/deploy/tools/install.sh .cache/lint $(BIN)/python
	@touch $@

# The number of workers, and which tests stay together on one: tests/conftest.py.
TESTS := $(BIN)/python -m pytest -n auto --dist loadgroup

.PHONY: install
install: $(VENV)/.test-kernels ## Install the package and what its tests import into .venv

.PHONY: test
test: $(VENV)/.test-kernels kafka chromium prometheus ## Install what is needed, and run all but the long tests
	$(TESTS) -m 'not long' $(ARGS)

.PHONY: test-rest
test-rest: $(VENV)/.dev-kernels kafka chromium prometheus linters wrk ## Run the long tests, which make test leaves out
	$(TESTS) -m long $(ARGS)

.PHONY: test-all
test-all: $(VENV)/.dev-kernels kafka chromium prometheus linters wrk ## Run every test
	$(TESTS) $(ARGS)

.PHONY: monitoring
monitoring: $(VENV)/.dev ## Make what Prometheus, Alertmanager and Grafana read, and tables of docs/
	$(BIN)/volsvc monitoring
	$(BIN)/python -m tests.monitoring.metrics_doc
	$(BIN)/python -m tests.docs.settings

.PHONY: bench
bench: $(VENV)/.dev-kernels kafka wrk .cache/benchmarks/.complete .cache/benchmarks/v1/.complete ## Measure speed beside peers and write docs/performance.md
	$(BIN)/python -m tests.benchmarks --page $(ARGS)

.PHONY: bench-quick
bench-quick: $(VENV)/.dev-kernels kafka wrk ## A minute of it, without peers and without writing
	$(BIN)/python -m tests.benchmarks --quick $(ARGS)

.PHONY: wrk
wrk:
	@sh tests/install-system.sh wrk=wrk

# What ours is measured against lives apart: its dependencies are none of ours.
.cache/benchmarks/.complete: tests/benchmarks/peers/requirements.txt $(BIN)/python
	$(PYTHON) -m venv .cache/benchmarks/venv
	.cache/benchmarks/venv/bin/python -m pip install -q -r $<
	@touch $@

.cache/benchmarks/v1/.complete: tests/benchmarks/peers/install-v1.sh $(BIN)/python
	sh $< $(PYTHON) $(@D)

.PHONY: bench-scaling
bench-scaling: $(VENV)/.dev-kernels kafka ## Measure one instance on a broker, and the arithmetic of a fleet
	$(BIN)/python -m tests.benchmarks.scaling

# A thousand streams are a thousand open files, twice.
.PHONY: load
load: $(VENV)/.dev-kernels ## Put load on the service and write docs/load_report.md
	@sh tests/install-system.sh wrk=wrk hey=hey
	ulimit -n 8192 && $(BIN)/python -m tests.load $(ARGS)

.PHONY: soak
soak: $(VENV)/.dev-kernels ## Ten minutes of load with swaps and a replay: nothing may leak
	@sh tests/install-system.sh wrk=wrk hey=hey
	ulimit -n 8192 && $(BIN)/python -m tests.load.soak $(ARGS)

.PHONY: soak-faults
soak-faults: $(VENV)/.dev-kernels kafka ## Twenty minutes of ticks with slow readers, kills, a full disk: nothing may be lost
	$(BIN)/python -m tests.load.hardship $(ARGS)

.PHONY: demo
demo: $(VENV)/.dev-kernels kafka chromium prometheus ## Play a day of operation in four to seven minutes, and record it
	@sh tests/install-system.sh ffmpeg=ffmpeg
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR=false \
	  PYTHONWARNINGS=ignore $(BIN)/python -m tests.demo $(ARGS)

.PHONY: report
report: $(VENV)/.dev ## Put the figures of the newest runs into docs/report.md
	$(BIN)/python -m tests.release.report

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Ten million inputs, or ten minutes of them, to decoder and request reader
	$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: mutants
mutants: $(VENV)/.test-kernels ## Plant small faults in packages, one at a time; ARGS='scoring --survivors'
	$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: train
train: $(VENV)/.dev ## Make the packaged model again; DATA='--data FOLDER …' names its recordings
	@test -n "$(DATA)" || { echo "say where the recordings are: make train DATA='--data FOLDER'"; exit 2; }
	$(BIN)/volsvc train $(DATA) --out var/ml.npz --model-version 2 \
	  --compare volsvc/models/ml.npz --no-register

# Recordings of different times, with rivals that are refitted every week.
EACH := --after-days 10 --refit-days 7 --anchors EWMA,HAR,log-HAR,QLIKE-HAR,QLIKE-HAR-5,HExp

.PHONY: reports
reports: $(VENV)/.dev ## Make docs/evaluation again; PANEL and FORMER, NEWEST, BARS, TICKS name recordings
	@test -n "$(PANEL)$(NEWEST)$(BARS)$(TICKS)" || { echo "say where recordings are: make reports BARS=…"; exit 2; }
	test -z "$(PANEL)" || $(BIN)/volsvc evaluate --data $(PANEL) --model $(FORMER) $(EACH) \
	  --title "Markets after the fit" --out docs/evaluation/modern-markets
	test -z "$(NEWEST)" || $(BIN)/volsvc evaluate --data $(NEWEST) --model volsvc/models/ml.npz $(EACH) \
	  --title "The packaged model on newer data" --out docs/evaluation/newest
	test -z "$(BARS)" || $(BIN)/volsvc evaluate --data $(BARS) --start 2019-01-01 --leave-one-out \
	  --title "Walk-forward, January to June 2019" --out docs/evaluation/walk-forward
	test -z "$(TICKS)" || $(BIN)/python -m tests.training.ticks $(TICKS)
	$(BIN)/python -m tests.training

.PHONY: screenshots
screenshots: $(VENV)/.dev chromium ## Take the pictures of the live page in docs/images
	$(BIN)/python -m tests.browser.screenshots

.PHONY: lint
lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(VENV)/.dev ## Build the pages of docs/ into site/, and check links
	$(BIN)/mkdocs build --strict

.PHONY: wheel
wheel: $(VENV)/.dev ## Build the wheel and the source distribution into dist/
	rm -rf dist
	$(BIN)/python -m build

.PHONY: sbom
sbom: wheel ## Write what the wheel consists of once installed (CycloneDX) into dist/
	$(BIN)/python -m tests.release.sbom dist/*.whl dist/volsvc.cdx.json

.PHONY: clean
clean: ## Remove everything that make has made
	rm -rf $(VENV) .cache dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
