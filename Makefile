# make demo and make test need nothing but python3 (3.11 or newer) and make; see CONTRIBUTING.md.
# PYTHON=python3.13 makes the environment with another interpreter.

BIN := .venv/bin
# Noted inside .venv, so that it goes when .venv goes.
ENV := .venv/.made-by-make

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env services lint types core tracing oldest wheel pytest test demo bench clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

env: $(ENV) ## .venv with laraq and its development tools

$(ENV): pyproject.toml uv.lock scripts/env scripts/apt.sh
	@PYTHON=$(PYTHON) scripts/env
	@touch $@

services: env ## the servers the tests talk to: Redis, RabbitMQ, PostgreSQL, MariaDB
	@scripts/services

lint: env ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: env ## mypy, strict
	$(BIN)/mypy

tracing: env ## the tracing libraries, and Django, that some tests run beside laraq
	@scripts/tracing

core: env ## the tests of the core: no server, no Celery, no client of either
	@PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest -p tests.support.core_only -p timeout -p xdist -n 2 -q tests

pytest: env services tracing ## the tests alone
	@$(BIN)/python scripts/pytest

oldest: env services ## the tests that depend most on Celery, kombu and SQLAlchemy, on the oldest versions allowed
	@scripts/oldest

wheel: env services ## the built wheel in an empty environment: the quick start on each broker, all blocks of README and guide
	@scripts/wheel

test: env services lint types oldest wheel pytest ## everything that must hold

demo: env ## the main job, from dispatch to done: a file of cities imported by a worker, with no server
	@$(BIN)/laraq demo

bench: env services ## where the time goes, compared with plain Celery
	$(BIN)/python benchmarks/jobs.py
	$(BIN)/python benchmarks/publish.py

clean: ## remove all that was made here, except servers
	rm -rf .venv .venv-oldest .venv-wheel .tracing .services.env build dist
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
