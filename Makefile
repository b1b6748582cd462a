# Everything a developer or CI runs. `make help` lists it.
SHELL      := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS  += --no-print-directory

STATICCHECK := v0.8.2
FUZZTIME    ?= 5s
HOSTILE     ?= 20s

# Packages with tests on real servers, and the others' trees, where a race can hide
# (the checker has one goroutine; nightly runs it all the same).
REAL = $$(grep -rlE --include='*_test.go' 'COMPTOIR_TEST_|test/testenv' . | xargs -r -n 1 dirname | grep -vE '^\./(test/crash$$|test/broker/|broker)' | sort -u)
RACE = $$(go list ./... | grep -vE '/test/(e2e|invariants$$)')
STEP = @printf '\n== %s\n'

.PHONY: help build test check fmt vet lint generate race fuzz bench e2e crash crash-short broker-kills broker-kills-short broker-clients broker-clients-all broker-hostile broker-differential broker-bench nightly clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r t d; do printf '  %-18s %s\n' "$$t" "$$d"; done

build: ## ./comptoir, a static binary
	CGO_ENABLED=0 go build -trimpath -o comptoir ./cmd/comptoir

test: ## what needs nothing but Go
	go test ./...

check: ## what CI runs: tests, format, vet, lint, race detector, kill -9, real Apache Kafka and PostgreSQL, other clients
	$(STEP) 'tests that need nothing but Go'
	CI= go test ./...
	@$(MAKE) fmt vet lint race broker-kills-short e2e broker-differential broker-clients crash-short
	@printf '\ncheck: everything passed\n'

fmt: ## gofmt has nothing to say
	$(STEP) gofmt
	@bad=$$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r gofmt -l); \
	if [ -n "$$bad" ]; then echo "run gofmt -w on:" $$bad; exit 1; fi

vet: ## go vet, and a build without cgo
	$(STEP) 'go vet, build without cgo'
	go vet ./...
	CGO_ENABLED=0 go build ./...

lint: bin/staticcheck-$(STATICCHECK) ## staticcheck
	$(STEP) staticcheck
	bin/staticcheck-$(STATICCHECK) ./...

bin/staticcheck-$(STATICCHECK):
	GOFLAGS= GOBIN=$(CURDIR)/bin go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	mv bin/staticcheck $@

generate: ## docs/cli.md and docs/configuration.md, from the code
	go test ./cmd/comptoir ./node -run TestReferenceIsCurrent -count=1 -update

race: ## the race detector, on everything that runs inside the test's process
	$(STEP) 'race detector'
	CI= CGO_ENABLED=1 go test -race -short -timeout 10m $(RACE)

fuzz: ## every fuzz target for FUZZTIME (5s)
	@grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -r -n 1 dirname | sort -u | while read -r dir; do \
	  for target in $$(cat "$$dir"/*_test.go | grep -oE '^func Fuzz\w*' | cut -c 6- | sort -u); do \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir"; \
	  done; \
	done

bench: ## every benchmark
	go test -run '^$$' -bench . -benchmem ./...

e2e: ## tests on real Apache Kafka and PostgreSQL, which test/servers starts; a left-out test is a failure
	$(STEP) 'tests on real Apache Kafka and PostgreSQL'
	CI=true test/servers/with go test -count=1 -p 1 -timeout 20m $(REAL)

# What came of each cell, with its seed, is appended there. Nothing of the environment narrows
# the matrix down, and CI=true makes what is missing a failure.
COMPTOIR_CRASH_HISTORY ?= $(CURDIR)/crash-history.jsonl
MATRIX = CI=true COMPTOIR_CRASH_CELL= COMPTOIR_CRASH_HISTORY=$(COMPTOIR_CRASH_HISTORY) COMPTOIR_TEST_SERVERS=$(CURDIR)/test/servers go test ./test/crash -run '^TestMatrix$$' -count=1 -v

crash-short: ## a few telling cells of the crash matrix, drawn by a seed that is printed
	$(STEP) 'short crash matrix'
	COMPTOIR_CRASH_LONG= $(MATRIX) -timeout 15m

crash: ## the long crash matrix: instances, brokers, PostgreSQL and network, killed, stopped, filled up
	COMPTOIR_CRASH_LONG=1 $(MATRIX) -timeout 60m

KILLS = for sync in commit interval; do COMPTOIR_KILL_SYNC=$$sync go test ./test/broker/kill -run '^TestKills$$' -count=1 -v -timeout 60m; done

broker-kills-short: ## the embedded broker under 30 random kill -9, in both modes of sync, by seeds that are printed
	$(STEP) 'the broker under kill -9'
	export COMPTOIR_KILLS=15; $(KILLS)

broker-kills: ## the same under 400
	export COMPTOIR_KILLS=200; $(KILLS)

broker-clients: ## clients of other houses, in Go and Java, against the embedded broker
	$(STEP) 'other clients'
	COMPTOIR_CLIENTS=kgo,sarama,kafka-go,java,streams go test ./test/broker/clients -count=1 -v -timeout 20m

broker-clients-all: ## all of them: also kcat, confluent-kafka, kafkajs
	COMPTOIR_CLIENTS=all go test ./test/broker/clients -count=1 -v -timeout 30m

# Its cases wait for Apache Kafka most of the time.
broker-differential: ## the same requests to Apache Kafka and to the embedded broker
	$(STEP) 'Apache Kafka and ours'
	CI=true test/servers/with go test ./test/broker/differential -count=1 -parallel 24 -timeout 5m

broker-hostile: ## random and spoilt requests on 50 connections, for HOSTILE (20s)
	$(STEP) 'hostile bytes'
	COMPTOIR_HOSTILE=$(HOSTILE) go test ./test/broker/hostile -count=1 -v -timeout 30m

broker-bench: ## the embedded broker beside kfake
	COMPTOIR_BROKER_BENCH=all go test ./test/broker/bench -count=1 -v -timeout 30m

nightly: ## check, longer: fuzzing, more orders and kills, the race detector on all of it
	@$(MAKE) check
	@$(MAKE) fuzz FUZZTIME=2m
	@$(MAKE) broker-kills broker-clients-all broker-hostile HOSTILE=10m
	CGO_ENABLED=1 CI=true COMPTOIR_TEST_NIGHTLY=1 COMPTOIR_TEST_ORDERS=100000 COMPTOIR_TEST_KILLS=50 \
	  test/servers/with go test -race -count=1 -p 1 -timeout 3h $(REAL)

clean: ## what builds and runs leave in the tree
	rm -rf comptoir bin comptoir-data
	go clean -testcache
