# `make demo` and `make test` do all their own set-up on a fresh Debian machine with a Rust toolchain.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help demo test setup lint fmt clippy docs tests properties release bench

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: ## everything on this machine with sample mail, to look at
	$(CARGO) run --locked --release --bin tidegate -- demo

test: setup lint tests ## what CI runs

setup: ## Debian packages that tests need
	deploy/dev/packages

lint: fmt clippy docs

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --locked --all-targets --features tidegate/trap -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps --quiet

# Property tests draw the same cases every time, so that a red run means a change; `make properties` draws others.
tests:
	PROPTEST_RNG_SEED=20261127 $(CARGO) test --workspace --locked --features tidegate/trap

properties: ## property tests on cases never drawn before
	$(CARGO) test --workspace --locked --features tidegate/trap property

release: ## optimised binaries
	$(CARGO) build --locked --release --workspace --bins

bench: release ## Tidegate beside Postfix, Rspamd, Haraka and nginx on this machine
	bench/peers/run
