# Two commands do everything: `make demo` and `make test`.
ENVOY_VERSION := 1.40.0
ENVOY := .cache/envoy-$(ENVOY_VERSION)/envoy

.PHONY: help demo test bench golden lint envoy

help:
	@echo "make demo    a gateway with two simulated inference servers, sample requests answered; KEEP=1 keeps it running"
	@echo "make test    all tests, a stock Envoy included; installs what it needs"
	@echo "make lint    formatting and lints"
	@echo "make golden  write golden/ anew from testdata/"
	@echo "make bench   benchmarks: ratios, printed"
	@echo "make bench-models  ten thousand models behind one hostname: bytes, times, stalls"
	@echo "make bench-fanout  many Envoys: CPU and memory of the server, beside the least there can be, and beside go-control-plane"
	@echo "make bench-hosts   one changed route among 10,000 hostnames, beside the usual layout; from an edit to its being served"
	@echo "make bench-kubernetes  over an API server: from an edit to its being served, and memory; needs make kube-api"
	@echo "make fuzz    a million bodies, which the scripts must read as serde_json does; damaged manifests: nothing may panic,"
	@echo "             nothing that Envoy refuses may come out"
	@echo "make openai  install the Python package openai $(OPENAI_VERSION) into .cache/, which tests use as a client"
	@echo "make envoy   install Envoy $(ENVOY_VERSION) into .cache/"
	@echo "make manifests    render deploy/manifests from the chart"
	@echo "make away    an API server that is away for a minute under traffic, with figures; needs make kube-api"
	@echo "make deployed   deploy/manifests in a whole cluster, for which KUBE_LAB names a program; skipped without it"
	@echo "make conformance  the official Gateway API suite, against the cluster of KUBECONFIG"
	@echo "make kube-api     build a Kubernetes API server for tests into .cache/ (some minutes, once); tests that need it are skipped without it"

envoy: $(ENVOY)

$(ENVOY):
	@echo "== installing Envoy $(ENVOY_VERSION)"
	@scripts/install-envoy $(ENVOY_VERSION) $(ENVOY)

# What applications speak to a gateway with; tests run it as it is published.
OPENAI_VERSION := 3.51.0
OPENAI := .cache/openai-$(OPENAI_VERSION)

.PHONY: openai
openai: $(OPENAI)

$(OPENAI):
	@echo "== installing the Python package openai $(OPENAI_VERSION)"
	@scripts/install-openai $(OPENAI_VERSION) $(OPENAI)

# Built from its sources, which takes minutes the first time: never as a side effect of a test run.
KUBE_VERSION := 1.36.3
KUBE_API := .cache/kube-api

.PHONY: kube-api
kube-api: $(KUBE_API)

$(KUBE_API): $(wildcard testkit/kube-api/*.go) testkit/kube-api/go.sum
	@echo "== building kube-apiserver $(KUBE_VERSION) with etcd"
	@mkdir -p .cache
	cd testkit/kube-api && go build -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=v$(KUBE_VERSION)' -o ../../$(KUBE_API) .
	@cp testkit/kube-api/go.sum $(KUBE_API).sum

# The manifests are the chart with its defaults; a test holds them to it.
.PHONY: helm manifests conformance
helm: .cache/helm

.cache/helm: deploy/tools/go.sum
	@echo "== building Helm"
	@mkdir -p .cache
	cd deploy/tools && go build -o ../../.cache/helm helm.sh/helm/v3/cmd/helm

manifests: .cache/helm
	@mkdir -p deploy/manifests
	.cache/helm lint --strict deploy/helm/chancery
	.cache/helm template chancery deploy/helm/chancery --namespace chancery-system --kube-version 1.36.0 > deploy/manifests/chancery.yaml
	.cache/helm template chancery deploy/helm/chancery --namespace chancery-system --kube-version 1.36.0 --set rateLimit.redis.enabled=true \
		> deploy/manifests/chancery-redis.yaml

# Against the cluster of KUBECONFIG, where Chancery is installed; scripts/conformance-lab makes one on this machine.
conformance:
	REPORT=$${REPORT:-.cache/conformance/report.yaml} scripts/conformance gateway-api

demo: envoy
	@echo "== building"
	@cargo build -p chancery -p inference-sim
	@scripts/demo

test: envoy openai
	@echo "== all tests"
	cargo test --workspace --no-fail-fast

.PHONY: away
away: envoy
	CHANCERY_TEST_AWAY=$(or $(AWAY),60) cargo test -p chancery --test kubernetes away -- --nocapture

.PHONY: deployed
deployed: envoy
	cargo test -p chancery --test deployed --test confined -- --nocapture

lint:
	@echo "== formatting and lints"
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

golden: envoy
	@echo "== writing golden files"
	UPDATE_GOLDEN=1 cargo test -p translator --test golden

bench: bench-translate bench-fanout

.PHONY: bench-translate
bench-translate:
	@echo "== a translation from scratch, one change of each sort, and how both grow"
	cargo run --release -p translator --example bench_translate

.PHONY: bench-request
bench-request: envoy
	@echo "== what a request to a model costs an Envoy"
	cargo build --release -p chancery
	cargo run --release -p chancery --example bench_request

.PHONY: bench-models
bench-models: envoy
	@echo "== ten thousand models behind one hostname"
	cargo build --release -p chancery
	cargo run --release -p chancery --example bench_models -- $(MODELS)

.PHONY: fuzz
fuzz:
	@echo "== bodies of requests, by the scripts and by serde_json"
	cargo run -p script-check --example fuzz_bodies -- $(or $(BODIES),1000000)
	@echo "== damaged manifests for $(or $(SECONDS_TO_RUN),600) s"
	cargo run -p translator --example fuzz_manifests -- $(or $(SECONDS_TO_RUN),600)

.PHONY: bench-fanout
bench-fanout:
	@echo "== many streams: ours, beside the least a server can do, and go-control-plane where Go can build it"
	cargo build --release -p xds-server --example bench_fanout
	@mkdir -p .cache
	@rm -f .cache/bench-peers
	-@cd bench/peers && go build -o ../../.cache/bench-peers .
	@for streams in 1000 10000; do \
		target/release/examples/bench_fanout $$streams 10 $$(ls .cache/bench-peers 2>/dev/null); \
	done

.PHONY: bench-hosts
bench-hosts: envoy
	@echo "== one changed route among 10,000 hostnames, beside the usual layout; and an edit until it is served"
	cargo build --release -p chancery
	cargo run --release -p chancery --example bench_hosts

.PHONY: bench-kubernetes
bench-kubernetes: envoy
	@echo "== over an API server: from an edit to its being served, and memory"
	cargo build --release -p chancery
	cargo run --release -p chancery --example bench_kubernetes
