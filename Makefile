# make run    builds in release and serves on the embedded default, 127.0.0.1:9292
# make test   everything that has to hold, as CI runs it
# make test-ceph  the rbd store on a Ceph of its own, which it installs, starts and stops
# make bench  what this machine does: benches, then uploads over loopback
#
# All of them build with one profile into one folder: hashing in an unoptimised build is twenty
# times slower, and a second set of dependencies would double the build.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

CARGO := cargo
GLISSADE := ./target/release/glissade
IT_THREADS := 2

CEPH := $(CURDIR)/target/ceph

.PHONY: run test test-ceph bench build fmt clippy doc unit it tools check-tools check-openssl

run: build
	$(GLISSADE) serve

test: fmt clippy doc unit it

# The cluster is stopped whatever comes of the tests; its data stays for a look.
test-ceph: build
	tests/env/ceph/setup.sh
	tests/env/ceph/start.sh $(CEPH)
	trap 'tests/env/ceph/stop.sh $(CEPH)' EXIT; export GLISSADE_CEPH=$(CEPH); \
	$(CARGO) test --release --locked --lib store::rbd && \
	$(CARGO) test --release --locked --test it ceph::

bench: build
	$(CARGO) bench --locked --benches
	$(GLISSADE) bench lanes
	$(GLISSADE) bench upload

build: tools
	$(CARGO) build --release --locked

fmt: check-tools
	$(CARGO) fmt --check

clippy: check-tools check-openssl
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

doc: check-tools
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --release --locked --no-deps --document-private-items

unit: tools check-openssl
	$(CARGO) test --release --locked --lib --bins
	$(CARGO) test --release --locked --doc

it: tools
	$(CARGO) test --release --locked --test it -- --test-threads=$(IT_THREADS)

tools:
	@command -v cargo > /dev/null || { \
	  echo "cargo is missing: install Rust 1.90 or later from https://rustup.rs" >&2; exit 1; }
	@command -v cc > /dev/null || { \
	  echo "cc is missing: apt-get install gcc libc6-dev" >&2; exit 1; }

check-tools: tools
	@for tool in fmt clippy; do cargo $$tool --version > /dev/null 2>&1 || { \
	  echo "cargo $$tool is missing: rustup component add rustfmt clippy" >&2; exit 1; }; done

# Tests and benches compare the hashing kernels with OpenSSL; the program itself has none.
check-openssl:
	@[ -e /usr/include/openssl/md5.h ] || { \
	  echo "OpenSSL's headers are missing: apt-get install libssl-dev pkg-config" >&2; exit 1; }
