.DEFAULT_GOAL := help
.ONESHELL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
# A shim without its interpreter answers to its name only, so each candidate is run.
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,\
	$(shell $(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $(p))))
READY := $(VENV)/.ready
# The scripts of an environment name their interpreter, and it names this package, by absolute paths: one that was copied
# runs the sources of its former place.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

# Nothing calls home, nothing is written outside the checkout.
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export NO_MKDOCS_2_WARNING := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup run up team-up test test-all test-team test-fast coverage checks lint docs docs-serve pictures demo bench bench-serving lock proto clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

setup: $(READY)  ## create .venv with the locked requirements; other targets do so when needed

$(READY): requirements.lock pyproject.toml hatch_build.py src/mnistflow/__init__.py serving/protocol/_pixels.c
	@test -n "$(PYTHON)" || { echo "mnistflow needs Python 3.11, 3.12 or 3.13, and none of them runs. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13. Name one that is: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	former="$$(cat $@ 2>/dev/null || true)"
	if test -n "$$former" && test "$$former" != "$(CURDIR)"; then
		echo "$(VENV) was moved from $$former to $(CURDIR): creating it again"
		rm -rf $(VENV)
		hash -r
	fi
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	echo "installing the locked requirements into $(VENV)"
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --reinstall-package mnistflow --editable .
	$(BIN)/python -m compileall -q src flows serving
	echo "$(CURDIR)" >$@

run: $(READY)  ## run the whole pipeline: fetch, prepare, tune, train, export, evaluate, register, promote, publish
	@mnistflow retrain

up: $(READY)  ## start the MLflow UI, Prefect with the schedules, and the prediction server; Ctrl-C stops all of them
	@mnistflow up

TESTS := python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder

team-up: $(READY)  ## start a team's servers on this machine: PostgreSQL, S3, MLflow, Prefect, Dask, nginx ...; Ctrl-C stops them
	@mnistflow team-up

test: checks  ## lint, docs, and all tests except those that take minutes; run before each change is merged
	@$(TESTS) -m "not long and not team"

test-all: checks  ## `test`, and the tests of kills, outages, several machines and every family: an hour
	@$(TESTS) -m "not team"

test-team: $(READY)  ## start a team's servers, retrain and sweep on them, and kill parts of them: an hour
	@python -m pytest -m team

test-fast: checks  ## lint, docs, and the tests of at most two seconds
	@python -m pytest -m "not slow" -n 2 --dist loadgroup

# One test limits the size of files, which holds for the data of coverage.py as well.
coverage: $(READY)  ## all tests, with the coverage of each file; lists the files below 90 %
	@rm -rf var/coverage
	mkdir -p var/coverage
	failed=0
	$(TESTS) -m "not team" --cov --cov-report= --deselect tests/integration/flows/test_bad_input.py::test_a_disk_that_takes_no_more || failed=$$?
	coverage report | tee var/coverage/report.txt
	coverage html --quiet
	echo "Each line is in var/coverage/html/index.html. Files below 90 %:"
	awk '$$NF ~ /%$$/ && $$1 != "TOTAL" && $$NF + 0 < 90 {print "  " $$1, $$NF}' var/coverage/report.txt
	exit $$failed

checks: $(READY)  ## lint and docs, in parallel
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint docs

lint: $(READY)  ## ruff, mypy, and the import rules between folders
	@ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache | tail -n 2

docs: $(READY)  ## build the documentation site into var/site; a broken link is an error
	@python -m mkdocs build 2>&1 | { grep -v '^INFO' || true; }

docs-serve: $(READY)  ## serve the documentation at http://127.0.0.1:8080, rebuilt when a page changes; needs no network
	@python -m mkdocs serve --dev-addr 127.0.0.1:8080

pictures: $(READY)  ## regenerate the screenshots in docs/images from short retrainings; needs chromium
	@PYTHONPATH=tests/support python docs/generate/pictures.py

demo: $(READY)  ## simulate a quarter of drifting traffic, with and without monitoring and retraining, in a temporary checkout
	@PYTHONPATH=benchmarks python -m demo

# Each prints its figures whatever became of the one before; bare_keras.py is a part of orchestration.py.
BENCH = @failed=; for script in $(filter-out %/bare_keras.py,$^); do python "$$script" || failed+=" $$script"; done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

bench: $(wildcard benchmarks/*.py) | $(READY)  ## run the benchmarks of training and searching, whose figures are in docs/: takes hours
	$(BENCH)

bench-serving: $(wildcard benchmarks/serving/*.py) | $(READY)  ## run the benchmarks of the server: over an hour, of which fuzzing takes 40 minutes; installs four other servers (0.9 GB); needs wrk
	$(BENCH)

# The lock files begin with these commands, from which Renovate repeats them; it reads arguments after an equals sign only.
COMPILE := uv pip compile --quiet --universal --python-version=3.11 --generate-hashes pyproject.toml
PIPELINE := $(addprefix --extra=,pipeline cluster team s3 gcs scoring serving grpc otel postgres signing verify dev docs)

lock: $(READY)  ## resolve the requirements again, and write the lock files
	@$(COMPILE) $(PIPELINE) --output-file=requirements.lock
	for backend in jax torch; do
		$(COMPILE) --extra=$$backend --constraint=requirements.lock --output-file=requirements-$$backend.lock
	done
	$(COMPILE) --extra=serving --output-file=serving/requirements.lock
	$(COMPILE) --extra=serving --extra=grpc --extra=otel --extra=verify --extra=postgres --output-file=serving/extras.lock
	for group in clients triton; do
		$(COMPILE) --group=$$group --output-file=tests/conformance/$$group.lock
	done

proto: $(READY)  ## regenerate the messages of the gRPC service
	@python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. serving/protocol/inference.proto

clean:  ## delete the environment and caches; models, runs and data stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dvc_plots .dvc/tmp .dvc/cache serving/protocol/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## `clean`, and delete everything written at run time: models, runs, data
	@rm -rf var
