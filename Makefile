# The verbs of this project. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Most of the time the tests wait for something. More of the lab's at once (LABS=0: one by one) and a daemon may answer
# later than a test, or the product, waits for it.
WORKERS ?= 3
LABS ?= 2
ROOTLESS := $(if $(filter-out 0,$(shell id -u)),-m "not root")

.PHONY: help preview dev lint unit packages lab molecule bench faults test clean

help: ## list the verbs
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/remediate: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.tested: pyproject.toml | $(BIN)/remediate
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

# Exit 1 says that there is something to change. 3 says that something is unknown: an answer about this very machine
# without root, but a failure where hosts were named.
ANSWERS := 1 $(if $(strip $(ARGS)),,3)

preview: $(BIN)/remediate ## preview the hardening of this very machine; changes nothing
	@$(BIN)/remediate --check $(ARGS) || { status=$$?; [[ " $(ANSWERS) " == *" $$status "* ]] || exit $$status; }

dev: $(VENV)/.tested ## make .venv with all that the tests need

lint: dev ## ruff, mypy --strict, ansible-lint, yamllint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --profile production

unit: dev ## unit, kind, property and CLI tests: no lab
	@$(if $(ROOTLESS),echo "Left out: the root tier of the unit tests (mount namespaces, chattr, other owners).")
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n $(WORKERS) $(ROOTLESS) tests/unit tests/kinds \
		tests/property tests/cli $(ARGS)

packages: ## the Debian packages that the lab needs, when root
	bash tests/lab/packages.sh

lab: dev packages ## tests on real hosts that they make themselves (root)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n $(LABS) --dist loadscope tests/lab $(ARGS)

molecule: dev packages ## molecule's scenarios on the lab's hosts (root)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test --all

bench: dev packages ## what the speed claims rest on; prints ratios
	$(BIN)/pip install --quiet --editable '.[test,bench]'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench $(ARGS)

faults: dev ## the fault campaign: kills, errors, snapshots, power cuts (root, hours); prints figures
	bash tests/lab/packages.sh btrfs-progs
	PATH="$(CURDIR)/$(BIN):$$PATH" unshare --mount --propagation private $(BIN)/python -m tests.faults $(ARGS)

test: ## everything: lint, unit, lab, molecule
	bash tests/run.sh

clean: ## remove .venv and caches of this checkout
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
