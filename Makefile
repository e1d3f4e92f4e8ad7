# Vocero: `make run` for the main job, `make test` for everything. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO := cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
VOCERO := $(TARGET)/release/vocero

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Build and start with embedded defaults: no key, no service needed
	$(VOCERO) serve

.PHONY: build
build: check-build-tools ## Build the optimised binary
	$(CARGO) build --locked --release --package server

.PHONY: dev
dev: check-build-tools ## Start a quick, unoptimised build
	$(CARGO) run --locked --package server -- serve

.PHONY: test
test: check-test-tools ## Run every test, on SQLite and PostgreSQL, in a folder and in a bucket
	./scripts/test-postgres.sh ./scripts/test-s3.sh $(CARGO) test --locked --workspace
	VOCERO_BIN=$(TARGET)/debug/vocero ./scripts/schemathesis.sh
	VOCERO_BIN=$(TARGET)/debug/vocero ./scripts/eval.sh --out $(TARGET)/eval

.PHONY: lint
lint: check-build-tools ## Formatting, clippy, documentation, licences; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
	./scripts/deny.sh

.PHONY: fuzz
fuzz: check-build-tools ## Fuzz the parsers for a minute each; needs a nightly compiler
	./scripts/fuzz.sh

.PHONY: bench
bench: check-build-tools ## Measure speed and memory; writes target/bench/*.json
	./scripts/bench.sh

.PHONY: eval
eval: check-build-tools ## Hold answers to floors and baselines; writes target/eval/*/report.html
	./scripts/eval.sh

.PHONY: check-build-tools
check-build-tools:
	@./scripts/check-tools.sh cargo cc

.PHONY: check-test-tools
check-test-tools:
	@./scripts/check-tools.sh cargo cc curl node python3
