# make help lists the targets. Each does its own set-up: on a fresh Debian or Ubuntu, as root, nothing has to be
# installed first. The work is in integration-tests/scripts/ and rootfs-examples/build.sh.

SCRIPTS := integration-tests/scripts
PROFILE ?= release
PEERS ?= debian

.DEFAULT_GOAL := help
.PHONY: help build rootfs demo test test-unit test-vm test-engines test-engines-quick test-kills fuzz lint docs compare bench bench-net bench-shop link-order clean

help: ## List the targets
	@echo 'minirun: an OCI container runtime with daemonless networking'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '  make %-18s %s\n' "$$target" "$$text"; done

build: ## Build bin/minirun, one static binary (PROFILE=dev builds faster and runs slower)
	@$(SCRIPTS)/setup.sh build
	@$(SCRIPTS)/build.sh $(PROFILE)

rootfs: ## Build the root filesystems that the bundles use, if their recipes changed
	@$(SCRIPTS)/setup.sh rootfs
	@rootfs-examples/build.sh

demo: ## Start the shop of bundles/shop, walk through it (a cache, an order, a crash, policies, limits), clean up (SHOP_PORT=8080)
	@$(SCRIPTS)/setup.sh build rootfs demo
	@$(SCRIPTS)/build.sh $(PROFILE)
	@rootfs-examples/build.sh
	@$(SCRIPTS)/demo.sh

test: ## Run the unit and integration tests, and those of the shop's services (as root; name what this host makes them skip)
	@$(SCRIPTS)/setup.sh build rootfs test
	@$(SCRIPTS)/build_tests.sh $(PROFILE) python3.11
	@$(SCRIPTS)/test.sh host

test-unit: ## Run the unit tests alone (no root needed)
	@$(SCRIPTS)/setup.sh build test
	@PATH="$$HOME/.cargo/bin:$$PATH" cargo test --lib

test-vm: ## Run the scenarios that differ on cgroup v2 (ALL=1: all) in an emulated machine
	@$(SCRIPTS)/setup.sh build test vm
	@$(SCRIPTS)/build_tests.sh $(PROFILE)
	@ALL=$(ALL) $(SCRIPTS)/test.sh vm

test-engines: ## Check minirun under Debian's Docker, containerd, Podman, Swarm, and beside other firewalls (as root; ENGINES=sid: the newest)
	@$(SCRIPTS)/setup.sh build engines
	@$(SCRIPTS)/build.sh $(PROFILE)
	@[ -z "$(ENGINES)" ] || $(SCRIPTS)/peers.sh $(ENGINES)-engines
	@ENGINES=$(ENGINES) QUICK=$(QUICK) integration-tests/engines/all.sh

test-engines-quick: ## The same in a minute: the checks of integration-tests/engines/quick.txt
	@$(MAKE) --no-print-directory test-engines QUICK=1

test-kills: ## Kill any one process of the shop 50 times while customers order (KILLS=50); no acknowledged order may be lost
	@$(SCRIPTS)/setup.sh build rootfs demo
	@$(SCRIPTS)/build.sh $(PROFILE)
	@rootfs-examples/build.sh
	@python3 $(SCRIPTS)/kill_shop.py

fuzz: ## Search for inputs on which a parser panics (FUZZ_SECONDS=60 for each of the targets)
	@$(SCRIPTS)/setup.sh build fuzz
	@$(SCRIPTS)/fuzz.sh

lint: ## Check formatting, clippy, licences and advisories
	@$(SCRIPTS)/setup.sh lint
	@$(SCRIPTS)/lint.sh

docs: ## Write manual pages and shell completions into target/docs/man and target/docs/completions
	@$(SCRIPTS)/setup.sh build
	@PATH="$$HOME/.cargo/bin:$$PATH" cargo run --quiet --example command-line -- target/docs

compare: ## Run the same bundles under runc and minirun and print one table
	@$(SCRIPTS)/setup.sh build rootfs compare
	@$(SCRIPTS)/build.sh $(PROFILE)
	@rootfs-examples/build.sh
	@$(SCRIPTS)/sandbox.sh python3 $(SCRIPTS)/compare.py

bench: ## Measure minirun beside crun, runc and the bare kernel (PEERS="debian sid youki"), then bench-net; write docs/benchmarks/
	@$(SCRIPTS)/setup.sh build rootfs bench
	@$(SCRIPTS)/build.sh $(PROFILE) floor
	@$(SCRIPTS)/build_seccomp_cost.sh
	@rootfs-examples/build.sh busybox
	@$(SCRIPTS)/peers.sh $(PEERS)
	@PEERS="$(PEERS)" BPF_JIT="$$(cat /proc/sys/net/core/bpf_jit_enable 2>/dev/null)" $(SCRIPTS)/sandbox.sh python3 $(SCRIPTS)/bench.py
	@[ -n "$(BENCH_ROWS)" ] || $(MAKE) --no-print-directory bench-net

bench-net: ## Measure networks beside netavark, CNI, Docker and the bare kernel; write docs/benchmarks/network.md
	@$(SCRIPTS)/setup.sh build bench-net
	@$(SCRIPTS)/build.sh $(PROFILE) attach http-server round-trips
	@python3 $(SCRIPTS)/bench_network.py

bench-shop: ## Measure the shop under load: by hand, under minirun and under Docker, in turns (SHOP_ROUNDS=5)
	@$(SCRIPTS)/setup.sh build rootfs bench-shop
	@$(SCRIPTS)/build.sh $(PROFILE)
	@rootfs-examples/build.sh
	-@$(SCRIPTS)/peers.sh sid
	@python3 $(SCRIPTS)/bench_shop.py

link-order: ## Record which functions a container's verbs call, for the linker (x86-64; writes src/sys/link-order.ld)
	@$(SCRIPTS)/setup.sh build rootfs
	@CARGO_PROFILE_RELEASE_STRIP=none $(SCRIPTS)/build.sh release
	@rootfs-examples/build.sh busybox
	@$(SCRIPTS)/sandbox.sh python3 $(SCRIPTS)/link_order.py bin/minirun rootfs-examples/build/busybox/rootfs

clean: ## Remove everything that was built, root filesystems included
	rm -rf target bin rootfs-examples/build
