# `make` says what there is. Everything works from a fresh clone; `make setup` brings what the machine lacks.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The version comes from git where there is one; Go's own stamping fails in a checkout that belongs to somebody else.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
export GOFLAGS := $(GOFLAGS) -buildvcs=false

LINT_VERSION := v2.15.0
LINT := .cache/bin/golangci-lint-$(LINT_VERSION)

VULN_VERSION := v1.9.0
VULN := .cache/bin/govulncheck-$(VULN_VERSION)

# Two packages at a time: each may run a PostgreSQL and a Kafka of its own. Tests that say t.Parallel wait more than they
# compute: more of them than there are processors.
TEST := go test -p 2 -parallel 4 -timeout 40m

# Measures the daemon: nothing else may run beside it. It builds the daemon itself, which Go's cache of test results does
# not see, so what it remembers of this package is not taken (-count 1).
ALONE := /internal/acceptance

.PHONY: help setup build release dev test test-fast test-kafka bench lint vulnerable torture model verify check-outbox microbench example-nestjs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## bring what building and testing needs onto a Debian or macOS machine; quick when it is all there
	@scripts/setup.sh

build: ## bin/relay
	@go build -ldflags '$(LDFLAGS)' -o bin/relay ./cmd/relay

release: setup ## bin/relay as it is published: jemalloc in place of libc's allocator, without symbols
	@scripts/build-release.sh bin/relay '$(LDFLAGS)'

dev: setup build ## see events arrive: a private PostgreSQL, a stand-in broker, the relay (ARGS="--events 10")
	@bin/relay dev $(ARGS)

test: setup lint vulnerable check-outbox ## everything: lint and all tests, on real PostgreSQL and real Kafka, with the race detector
	$(TEST) -race $$(go list ./... | grep -v '$(ALONE)')
	go test -timeout 60m -race -count 1 .$(ALONE)

test-fast: ## what needs no Java: all tests with -short, with the race detector
	$(TEST) -race -short ./...

test-kafka: setup ## the packages that use a real Apache Kafka, one at a time
	$(TEST) -p 1 -race $$(grep -rl --include='*.go' '/internal/devenv/kafka' . | xargs -n 1 dirname | sort -u) ./internal/devenv/kafka

torture: setup build ## break servers under the relay: SEED=n DURATION=2m MODE=at_least_once|exactly_once NODES=1|3 FAULTS=a,b
	@go build -ldflags '$(LDFLAGS)' -o bin/relay-torture ./cmd/relay-torture
	@bin/relay-torture run --seed $(or $(SEED),1) --duration $(or $(DURATION),2m) --mode $(or $(MODE),at_least_once) \
	    --nodes $(or $(NODES),1) $(if $(FAULTS),--faults $(FAULTS)) $(if $(DIR),--dir $(DIR))

example-nestjs: setup ## two NestJS services on real PostgreSQL and Kafka, one of them killed half-way (ARGS=--bench measures)
	@node examples/nestjs-orders/build.mjs
	@node examples/nestjs-orders/demo.mjs $(ARGS)

model: setup ## search all states of the protocol's model (internal/model), minutes
	go test -count 1 -timeout 40m -v ./internal/model

bench: release ## measure against Debezium, a poller and bare clients: BENCH_ONLY=drain,… BENCH_SYSTEMS=… BENCH_RUNS=5 BENCH_QUICK=1
	@go build -tags jemalloc -o bin/bench ./bench
	@mkdir -p $(or $(BENCH_OUT),bin)
	@bin/bench run --out $(or $(BENCH_OUT),bin) --runs $(or $(BENCH_RUNS),5) $(if $(filter-out 0,$(BENCH_QUICK)),--quick) \
	    $(if $(BENCH_ONLY),--only $(BENCH_ONLY)) $(if $(BENCH_SYSTEMS),--systems $(BENCH_SYSTEMS)) $(ARGS)

microbench: setup ## Go's own benchmarks, one package at a time (BENCH=pattern)
	go test -p 1 -timeout 60m -run '^$$' -bench '$(or $(BENCH),.)' -benchmem ./...

lint: $(LINT) ## formatting and golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	    [ -z "$$unformatted" ] || { echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; } >&2
	@$(LINT) run ./...

# Built from source through Go's module proxy, so that it understands the Go that is installed. Takes a few minutes once.
$(LINT):
	@echo "lint: building golangci-lint $(LINT_VERSION), once" >&2
	@mkdir -p $(@D)
	@GOBIN=$(CURDIR)/$(@D) GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(@D)/golangci-lint $@

# Fails on a vulnerability that our code calls (exit 3). Where the database cannot be reached it says so, and nothing
# is known: a build without a network is not a failed one.
vulnerable: $(VULN) ## known vulnerabilities in what we call, from vuln.go.dev; skipped where that cannot be reached
	@out=$$(GOFLAGS=-buildvcs=false $(VULN) ./... 2>&1) && exit 0; status=$$?; \
	    case $$status:$$out in \
	    3:*) echo "$$out" >&2; exit 1;; \
	    *"fetching vulnerabilities"*) echo "vulnerable: not checked, the database of vulnerabilities cannot be reached" >&2;; \
	    *) echo "$$out" >&2; exit 1;; \
	    esac

$(VULN):
	@mkdir -p $(@D)
	@GOBIN=$(CURDIR)/$(@D) GOFLAGS= go install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)
	@mv $(@D)/govulncheck $@

# What applications import needs neither cgo nor a C compiler.
check-outbox:
	@CGO_ENABLED=0 go vet ./outbox/...

verify: check-outbox vulnerable ## modules are what go.sum says, generated code and go.mod are up to date
	go mod verify
	go vet ./...
	go mod tidy -diff
	@before=$$(git diff | cksum); go generate ./...; \
	    [ "$$before" = "$$(git diff | cksum)" ] || { git diff --stat; echo "commit what go generate changed" >&2; exit 1; }
