# The two commands of the README, and what maintainers run. Everything happens in .venv.
# PYTHON chooses the interpreter (3.11 to 3.13): make test PYTHON=python3.12
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
MINOR  := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
LOCK   := requirements/py$(MINOR).txt
READY  := $(VENV)/.ready-$(MINOR)
# What the checks need besides, and the extra `train`, in a folder that only its tests see: requirements/lock.py.
CHECKS := $(foreach layer,clusters checks train,requirements/$(layer)-py$(MINOR).txt)
TESTED := $(VENV)/.checks-$(MINOR)
TRAIN  := $(VENV)/train
# Where a CPU build of torch comes from, if not from the usual index: make demo TORCH_INDEX=<address>
TORCH_INDEX ?=
TORCH_FROM := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),)
# Half of the modules are never imported: compiled when they are, the set-up is 20 s shorter.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
LOCKED := $(PIP) --no-deps --require-hashes --only-binary :all:
DATA := $(if $(HCCTL_DATA),--data $(HCCTL_DATA),)
REAL := --timeout 600 -p no:randomly
HOUR := tests/integration/test_real_hour.py
SHARED_TESTS := $(if $(wildcard ../shared/data),,and not shared)
# Each of the hundreds of processes of a run would compile the same modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint style types sbom audit unit training e2e campaign campaign-hour campaign-rest bench lock clean setup checks prometheus

demo: setup          ## from nothing to a real burst that opens and comes home
	$(BIN)/hcctl demo $(DATA)

test: lint unit training e2e   ## what CI runs

setup: $(READY)

checks: $(TESTED)    ## what `make test` needs besides what the product does

$(READY): $(LOCK) requirements/torch.txt pyproject.toml
	@test "$$(uname -sm)" = "Linux x86_64" || { echo "hcctl runs on Linux x86-64; this is $$(uname -sm)"; exit 2; }
	@echo "setting up $(VENV) with Python $(MINOR): $$(grep -c == $(LOCK)) packages and torch, one to three minutes"
	$(PYTHON) -m venv --clear $(VENV)
	$(LOCKED) --requirement $(LOCK)
	$(PIP) $(TORCH_FROM) --only-binary :all: --requirement requirements/torch.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(TESTED): $(READY) $(CHECKS)
	@echo "adding $$(cat $(CHECKS) | grep -c ==) packages of the checks"
	$(LOCKED) --requirement requirements/clusters-py$(MINOR).txt --requirement requirements/checks-py$(MINOR).txt
	$(LOCKED) --target $(TRAIN) --upgrade --requirement requirements/train-py$(MINOR).txt
	@touch $@

$(LOCK) $(CHECKS):
	@echo "no lock for Python $(MINOR); use 3.11, 3.12 or 3.13: make PYTHON=python3.11"; exit 2

lint: checks         ## format, style, layers and bill of materials beside types
	$(MAKE) --jobs 2 --output-sync --no-print-directory types style sbom

style:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

sbom: checks         ## what is installed, as the lock says and fitting together: build/sbom.cdx.json
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/python requirements/sbom.py build/sbom.cdx.json

audit:               ## known vulnerabilities of the lock; asks an advisory service on the internet
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)-audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement $(LOCK) $(CHECKS:%=--requirement %)

prometheus: setup    ## Debian's Prometheus, unpacked for the tests and not installed; without it they are left out by name
	@test -x $(VENV)/prometheus/usr/bin/promtool || ( cd $(VENV) && mkdir -p deb && cd deb && \
	  { apt-get --quiet download prometheus || { apt-get --quiet update && apt-get --quiet download prometheus; }; } && \
	  dpkg-deb --extract prometheus_*.deb ../prometheus ) > $(VENV)/prometheus.log 2>&1 || \
	  echo "no Prometheus from Debian here (see $(VENV)/prometheus.log): tests marked prometheus are left out"

unit: checks prometheus   ## everything without Ray, in three processes as they often wait: minutes
	$(BIN)/pytest -n 3 --dist worksteal -m "not e2e and not train and not campaign $(SHARED_TESTS)"

training: checks     ## Ray Data and Ray Train
	PYTHONPATH=$(TRAIN) $(BIN)/pytest tests/integration -m "train and not campaign $(SHARED_TESTS)"

e2e: checks          ## real Ray clusters and HAProxy, file beside file, then the demo by itself: minutes
	$(BIN)/pytest tests/e2e -n 2 --dist loadfile -m "e2e and not alone and not campaign" $(REAL)
	$(BIN)/pytest tests/e2e -m "alone and not campaign" $(REAL)

campaign: checks     ## long runs, then what must run by itself; reports go to docs/campaigns
	$(MAKE) --jobs 2 --no-print-directory campaign-hour campaign-rest
	$(BIN)/pytest -m "campaign and alone" --timeout 3600 -p no:randomly

campaign-hour: checks    # it mostly waits, so the rest runs beside it
	$(BIN)/pytest $(HOUR) -m campaign -p no:randomly

campaign-rest: checks
	PYTHONPATH=$(TRAIN) $(BIN)/pytest -n 2 --dist worksteal -m "campaign and not alone $(SHARED_TESTS)" \
	  --deselect $(HOUR) --timeout 3600 -p no:randomly

bench: checks        ## the figures of docs/benchmarks.md
	$(BIN)/python -m benchmarks

lock:                ## resolve the lock of this Python anew
	$(PYTHON) requirements/lock.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
