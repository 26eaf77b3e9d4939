# make run    builds in release and serves on the embedded default, 127.0.0.1:9292
# make test   everything that has to hold, as CI runs it
# make setup  installs the servers that tests speak to (Debian and Ubuntu, as root)
# make test-ceph  only the rbd store
# make bench  what this machine does: benches, then uploads over loopback
#
# All of them build with one profile into one folder: hashing in an unoptimised build is twenty
# times slower, and a second set of dependencies would double the build.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

CARGO := cargo
GLISSADE := ./target/release/glissade
IT_THREADS := 2

# Servers that tests speak to, started once for all of them: folders of tests/env, each with
# setup.sh, start.sh and stop.sh; tests find the one of NAME in GLISSADE_NAME (tests/env/with.sh).
# A machine that has not got one skips what needs it, and says so; in CI nothing is skipped.
ENVIRONMENTS := ceph
ENVIRONMENTS += glance_store
ENVIRONMENTS += nginx haproxy
ENVIRONMENTS += keystone
ENVIRONMENTS += clients
ENVIRONMENTS += mariadb postgres glance

# Makes ffi/bindings.rs anew, which needs Ceph's headers and libclang; ours must be the same.
ifeq ($(CI),true)
BINDGEN := --features bindgen
endif

.PHONY: run test setup test-ceph bench build fmt clippy doc unit it \
	tools check-tools check-openssl

run: build
	$(GLISSADE) serve

test: fmt clippy doc
	tests/env/with.sh $(ENVIRONMENTS) -- $(MAKE) unit it

setup:
	for name in $(ENVIRONMENTS); do tests/env/$$name/setup.sh || exit 1; done

test-ceph: build
	tests/env/with.sh ceph glance_store -- $(SHELL) -c '\
	$(CARGO) test --release --locked --lib store::rbd && \
	$(CARGO) test --release --locked --test it ceph'

bench: build
	$(CARGO) bench --locked --benches
	$(GLISSADE) bench lanes
	$(GLISSADE) bench upload

build: tools
	$(CARGO) build --release --locked

fmt: check-tools
	$(CARGO) fmt --check

clippy: check-tools check-openssl
	$(CARGO) clippy --release --locked --all-targets $(BINDGEN) -- -D warnings
	$(if $(BINDGEN),git diff --exit-code ffi)

doc: check-tools
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --release --locked --no-deps --document-private-items

unit: tools check-openssl
	$(CARGO) test --release --locked --lib --bins
	$(CARGO) test --release --locked --doc

it: tools
	$(CARGO) test --release --locked --test it -- --test-threads=$(IT_THREADS)

tools:
	@command -v cargo > /dev/null || { \
	  echo "cargo is missing: install Rust 1.94 or later from https://rustup.rs" >&2; exit 1; }
	@command -v cc > /dev/null || { \
	  echo "cc is missing: apt-get install gcc libc6-dev" >&2; exit 1; }

check-tools: tools
	@for tool in fmt clippy; do cargo $$tool --version > /dev/null 2>&1 || { \
	  echo "cargo $$tool is missing: rustup component add rustfmt clippy" >&2; exit 1; }; done

# Tests and benches compare the hashing kernels with OpenSSL; the program itself has none.
check-openssl:
	@[ -e /usr/include/openssl/md5.h ] || { \
	  echo "OpenSSL's headers are missing: apt-get install libssl-dev pkg-config" >&2; exit 1; }
