# Each target works without arguments on a fresh Debian or Ubuntu machine, and says what it is doing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# those that share a folder of builds or a recorded mesh stay together as long as both are busy
UNIT := $(BIN)/pytest -ra -n auto --maxprocesses 4 --dist worksteal -m "not lab"

.PHONY: certify test lint unit lab-tests faults record healthy bench kills upgrade clean help

help:
	@echo "make certify   build a two-cluster Istio mesh on this machine, judge it, write mesh-report.yaml (needs root)"
	@echo "make test      lint, unit tests, and the tests on real labs (needs root)"
	@echo "make lint      ruff, mypy, vulture"
	@echo "make unit      the tests that need neither root nor a lab"
	@echo "make faults    seed real faults into a real mesh: each must be named, and mended by the printed remedy (needs root)"
	@echo "              those of one topology: make faults TOPOLOGY=federated (docs/seeded-faults.md)"
	@echo "make record    the same, and keep the snapshots in tests/recorded"
	@echo "make healthy   certify healthy lab meshes again and again, and count the alarms (needs root);"
	@echo "              fewer or others: make healthy RUNS=20 PROFILE=disruptive TOPOLOGY=federated"
	@echo "make kills     kill 20 real certifications at random moments and look for what is left, also on"
	@echo "              clusters that stay and were being disrupted (needs root)"
	@echo "make upgrade   take a real mesh from Istio 1.30 to 1.31 under counted traffic, and say what was lost (needs root);"
	@echo "              another: make upgrade TOPOLOGY=multi-network-primary-remote"
	@echo "make lock      choose the versions of Python packages anew (constraints.txt)"
	@echo "make bench     measure every phase and compare with the same work done by hand (needs root)"

certify: .venv/ready host
	$(BIN)/pytest --mesh-topology=multi-network-multi-primary

test: lint host
	@limit=/proc/sys/fs/inotify/max_user_instances; \
	if [ "$$(cat $$limit)" -lt 512 ] && [ -w $$limit ]; then \
	  echo "== raising fs.inotify.max_user_instances to 512: the tests run several labs side by side"; echo 512 > $$limit; \
	fi
	@echo "== lab binaries (built once, then cached)"
	$(BIN)/istio-mc lab build
	$(BIN)/istio-mc lab build --istio 1.30 --kubernetes 1.35
	@failed=0; \
	echo "== tests without a lab, on all processors"; $(UNIT) || failed=1; \
	echo "== tests on real labs, one at a time"; $(BIN)/pytest -ra -m "lab and not faults" || failed=1; \
	exit $$failed

unit: .venv/ready
	$(UNIT)

lab-tests: .venv/ready host
	$(BIN)/pytest -ra -m "lab and not faults"

faults: .venv/ready host
	$(BIN)/istio-mc lab build
	$(BIN)/pytest -ra -m faults -s --durations=0 $(if $(TOPOLOGY),-k '$(TOPOLOGY)' tests/seeded)

record: export RECORD = 1
record: faults

upgrade: .venv/ready host
	$(BIN)/python -m bench.upgrade $(if $(TOPOLOGY),--topology=$(TOPOLOGY))

lint: .venv/ready
	@echo "== ruff"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@echo "== mypy"
	$(BIN)/mypy
	@echo "== vulture"
	$(BIN)/vulture

bench: .venv/ready host
	$(BIN)/python -m bench

healthy: .venv/ready host
	$(BIN)/istio-mc lab build
	$(BIN)/python -m bench.healthy -n $(or $(RUNS),10) $(if $(PROFILE),--profile $(PROFILE)) $(TOPOLOGY)

kills: .venv/ready host
	$(BIN)/istio-mc lab build
	$(BIN)/python -m bench.kills
	$(BIN)/python -m bench.attached_kills

.venv/ready: pyproject.toml constraints.txt
	@echo "== Python environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; give another one: make PYTHON=python3.12 …"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; \
	  else \
	    echo "Python cannot make environments here; on Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; \
	  fi; \
	fi
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e '.[lab,allure,dev]'
	@touch $@

# The versions that were tried together: what `make` installs today it installs in a year, too.
# Versions and no digests: one digest list cannot serve every Python and processor, and pip takes
# either all or none. What the lab fetches to run as root is held to digests (docs/lab.md).
lock:
	@echo "== the newest versions that go together, for constraints.txt"
	@folder=$$(mktemp -d) && $(PYTHON) -m venv $$folder && \
	  $$folder/bin/pip install --disable-pip-version-check -q -e '.[lab,allure,dev]' && \
	  $$folder/bin/pip freeze --exclude-editable > constraints.txt; rm -rf $$folder; wc -l constraints.txt
.PHONY: lock

# What the lab needs from the system: installed where we may, else named.
host:
	@missing=""; \
	command -v runc >/dev/null || missing="$$missing runc"; \
	command -v iptables >/dev/null || [ -x /usr/sbin/iptables ] || missing="$$missing iptables"; \
	command -v ip >/dev/null || [ -x /usr/sbin/ip ] || missing="$$missing iproute2"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== installing$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends$$missing; \
	else \
	  echo "the lab needs$$missing; on Debian and Ubuntu: sudo apt-get install$$missing"; exit 1; \
	fi
.PHONY: host

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
