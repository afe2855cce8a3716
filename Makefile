# natrig: what there is to do. Everything here works as an ordinary user, but for `setup` where packages are missing.

TARGET := x86_64-unknown-linux-gnu
export NATRIG_PROGRAMS := $(CURDIR)/target/release

.PHONY: run matrix build programs setup test test-full bench lint clean

run: build
	target/release/natrig run scenarios/seed/scenario-*.yaml

matrix: build
	target/release/natrig matrix

build: programs
	cargo build --locked --release -p natrig

# The guests' programs are static: a guest has no other libraries than those of its own programs.
programs: setup
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target $(TARGET) -p natrig-guest -p omerta-mesh
	mkdir -p target/release
	ln -f target/$(TARGET)/release/natrig-guest target/$(TARGET)/release/omerta-mesh target/release/

setup:
	@scripts/setup

# Tests build natrig itself, as they check it.
test: programs
	scripts/test

test-full: programs
	scripts/test full

bench: build
	scripts/bench

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p natrig --no-default-features --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

clean:
	cargo clean
