# The few commands a person needs. `make` alone lists them; the work is in scripts/ and in cargo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Builds land outside the checkout, so that a read-only or synchronised folder is no problem. cargo may
# have been installed a minute ago by `make setup`, before any new shell has it on PATH.
ifneq ($(strip $(HOME)),)
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/quire
else ifeq ($(shell id -u),0)
export HOME := /root
cache := $(or $(XDG_CACHE_HOME),/var/cache)/quire
export XDG_CACHE_HOME ?= /var/cache
else
cache := $(or $(XDG_CACHE_HOME),$(error HOME is not set: set it, or XDG_CACHE_HOME, so that builds have a place))/quire
endif
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
export CARGO_TARGET_DIR ?= $(cache)/target

ARGS ?=
SUITE ?=

.PHONY: help run test bench setup setup-tests model build fmt lint doc clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build quire and start it with the sample company: make run ARGS="…"
	@exec "$$CARGO_TARGET_DIR/release/quire" up --demo $(ARGS)

test: setup-tests model ## everything CI checks: format, lints, documentation, tests
	@cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo test --workspace --locked --no-fail-fast

bench: setup model ## measure: make bench SUITE=name ARGS="…"; without SUITE it lists the suites
	@cargo build --release --locked -p quire -p quire-bench
	exec "$$CARGO_TARGET_DIR/release/quire-bench" $(SUITE) $(ARGS)

setup: ## install what is missing: PostgreSQL, poppler, a C compiler, Rust
	@scripts/setup.sh

setup-tests:
	@scripts/setup.sh --tests

model: setup ## fetch the embedding model (90 MB, once)
	@scripts/fetch-model.sh

build: setup model
	@cargo build --release --locked -p quire

fmt: ## format the code
	@cargo fmt --all

lint: ## clippy on everything, warnings are errors
	@cargo clippy --workspace --all-targets --locked -- -D warnings

doc: ## build the documentation of the crates
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	echo "$$CARGO_TARGET_DIR/doc/quire/index.html"

clean: ## remove the builds; data and model stay
	@cargo clean
