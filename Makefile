# Everything that a person or CI runs. `make help` lists it.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo

.PHONY: help build demo test test-fast test-e2e check-deploy chaos fmt lint fuzz-grok bench peers down clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the release binary: target/release/logproc
	@dev/bootstrap
	$(CARGO) build --release

demo: ## Kafka, Elasticsearch, 100,000 nginx events, the pipeline, and what came of it
	@dev/demo

test: ## Everything that CI runs
	@dev/bootstrap
	@$(MAKE) --no-print-directory lint test-fast check-deploy test-e2e

test-fast: ## Tests that need no server
	$(CARGO) test --features testkit --lib --bins $(foreach t,conformance filters logstash reference nginx_pipeline cli pipelines_cli trials documented operations operators setup_cli delivery ending grok_vectors grok_parser grok_cli grok_differential,--test $(t))

test-e2e: ## Tests on a real Kafka and a real Elasticsearch, which are started
	@dev/bootstrap
	$(CARGO) test --features testkit --test end_to_end --no-run
	eval "$$(dev/services up kafka elasticsearch)"; \
	timeout 1800 $(CARGO) test --features testkit --test end_to_end -- --test-threads=1; \
	$${CARGO_TARGET_DIR:-target}/debug/logproc-dev chaos --seconds 60 --seed 6

check-deploy: ## What can be checked of Terraform, chart, manifests, compose files and image without a cluster
	@deploy/check/run

chaos: ## Kill, freeze, cut and restart everything, for ever; SEED, SECONDS_OF_CHAOS and CHAOS (flags) choose
	@dev/bootstrap
	$(CARGO) build --features testkit
	eval "$$(dev/services up kafka elasticsearch)"; \
	$${CARGO_TARGET_DIR:-target}/debug/logproc-dev chaos --seconds $${SECONDS_OF_CHAOS:-0} $${SEED:+--seed $$SEED} $${CHAOS:-}

fmt: ## Format Rust, shell, Python and TOML
	@dev/fmt

lint: ## Check the format; warnings of the compiler and of clippy are errors; licences and sources of crates are checked
	@dev/fmt --check
	$(CARGO) clippy --all-targets --features testkit -- -D warnings
	@dev/deny

fuzz-grok: ## Compare grok with Oniguruma on random patterns and lines, for ever
	LOGPROC_FUZZ_SECONDS=0 $(CARGO) test --release --test grok_differential -- --ignored endless --nocapture

bench: ## Measure: see benches/README.md
	@dev/bench

peers: ## Measure beside others that do this work: see benches/README.md
	@dev/peers

down: ## Stop the servers that demo and tests have started
	@dev/services down

clean: ## Stop the servers, forget their data, remove what was built
	@dev/services down wipe
	$(CARGO) clean
