# `make demo` and `make test` set everything up; they need git, make and Python 3.11 with venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Releases of the reference that have a rule set of their own, besides 1.0.2
LATER := 1.0.11 1.0.24 1.0.27 1.0.30
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-all lint types unit slow differential wheel frameworks test-phoenix mutants soak bench \
	bench-scale bench-viewer bench-adapters docs pictures screenshots deploy-lint clean

demo: $(VENV)/installed
	@$(BIN)/turnlog demo

# Eight minutes on two idle cores, when all is installed
test: lint types unit

# The rest: what kills processes, stops servers, searches long, and needs the releases of the reference
test-all: slow differential wheel

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

# make unit COVERAGE=1 measures it, and fails below the floor in pyproject.toml
unit: $(VENV)/ready
	TURNLOG_EXAMPLES=$(or $(EXAMPLES),5) $(BIN)/pytest -n 4 -m 'not slow' $(if $(COVERAGE),--cov)

# All tests marked slow, those on Postgres, and all properties with ten times the examples
slow: $(VENV)/ready
	TURNLOG_EXAMPLES=$(or $(EXAMPLES),50) $(BIN)/pytest -n 4 -m 'slow or hypothesis'

# Against the published reference itself, on fresh calls: make differential SESSIONS=5000 SEED=any
differential: $(VENV)/ready
	$(BIN)/python tests/differential/differential.py $(or $(SESSIONS),400) $(SEED)
	for release in $(LATER); do \
		$(BIN)/python tests/differential/differential.py 120 $(SEED) --release $$release || exit 1; \
	done
	$(BIN)/python tests/differential/analytics_bodies.py
	$(BIN)/python tests/differential/log_bodies.py
	$(BIN)/python tests/differential/telemetry_spans.py

# Against a real Arize Phoenix, in an environment of its own (a large one). Its pytest plugin is not for us.
test-phoenix: .venv-phoenix/ready
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv-phoenix/bin/python -m pytest tests/phoenix

# The adapters beside their frameworks, each in an environment of its own; versions are pinned in tests/adapters.
frameworks: test-videosdk test-videosdk-new test-livekit test-pipecat

test-%: .venv-%/ready
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv-$*/bin/python -m pytest tests/adapters/test_$(firstword $(subst -, ,$*)).py

# A wheel, installed elsewhere, has to work as a clone does.
wheel: $(VENV)/ready
	tests/wheel.sh $(BIN)/python

# Break each law on purpose and see its test go red.
mutants: $(VENV)/ready
	$(BIN)/python tests/mutants.py

# Kills, a full disk, crowds, a long session, fuzzing: make soak ONLY=kills,fuzz SECONDS=60 KILLS=200 SEED=1
soak: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m soak --only '$(ONLY)' --seconds $(or $(SECONDS),600) \
		--kills $(or $(KILLS),1040) $(if $(SEED),--seed $(SEED))

# One family of rows alone: make bench ONLY=replay
bench: $(VENV)/ready-bench
	$(BIN)/python benchmarks/run.py --only '$(ONLY)'

# How time and memory grow with the log, up to five million events: make bench-scale EVENTS=100000,1000000
bench-scale: $(VENV)/ready
	$(BIN)/python benchmarks/scale.py $(if $(EVENTS),--events $(EVENTS))

# The viewer in Chromium, beside Phoenix where .venv-phoenix or PHOENIX=…/bin/python has it: make bench-viewer ONLY=pages
bench-viewer: $(VENV)/ready
	$(BIN)/python benchmarks/viewer.py $(if $(PHOENIX),--phoenix $(PHOENIX)) $(if $(ONLY),--only $(ONLY))

# The documentation as a site, in site/
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "open site/index.html"

# The pictures of the documentation, as the program prints them now
pictures: $(VENV)/ready
	$(BIN)/python docs/make_pictures.py

# The Dockerfile, the compose file and the Kubernetes manifests, by linters in an environment of their own
MANIFESTS = $(filter-out %kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml deploy/kubernetes/*/*.yaml))

deploy-lint: .venv-deploy/ready
	.venv-deploy/bin/hadolint Dockerfile
	.venv-deploy/bin/yamllint --strict --config-file deploy/yamllint.yaml deploy
	.venv-deploy/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	! .venv-deploy/bin/kubernetes-validate --strict --quiet $(MANIFESTS) 2>&1 | grep . # an unknown kind is only a warning
	.venv-deploy/bin/checkov --config-file deploy/checkov.yaml --file Dockerfile $(MANIFESTS)

# The screenshots of the documentation, in Chromium
screenshots: $(VENV)/ready
	$(BIN)/python docs/make_screenshots.py

# What an adapter costs, beside the framework's own cost
bench-adapters: .venv-videosdk/ready .venv-livekit/ready .venv-pipecat/ready
	for name in videosdk livekit pipecat; do .venv-$$name/bin/python benchmarks/adapters_$$name.py || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/ready: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/ready-bench: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[bench]'
	@touch $@ $(VENV)/ready $(VENV)/installed

.venv-phoenix/ready: pyproject.toml
	test -x .venv-phoenix/bin/python || $(PYTHON) -m venv .venv-phoenix
	.venv-phoenix/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[dev]' arize-phoenix
	@touch $@

.venv-docs/ready: pyproject.toml
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[docs]'
	@touch $@

.venv-deploy/ready: deploy/requirements.txt
	test -x .venv-deploy/bin/python || $(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

.venv-%/ready: pyproject.toml tests/adapters/requirements-%.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[deliver,postgres]' \
		hypothesis pytest -r tests/adapters/requirements-$*.txt
	@touch $@

.PRECIOUS: .venv-%/ready

clean:
	rm -rf .venv .venv-* dist build site
