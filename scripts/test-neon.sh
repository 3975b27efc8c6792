#!/usr/bin/env bash
# Runs the tests of quire-vectors as 64-bit ARM code under an emulator: the NEON kernels on a machine without NEON.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in qemu-aarch64 aarch64-linux-gnu-gcc; do
    if ! command -v "$tool" > /dev/null; then
        echo "$tool is missing: install qemu-user, gcc-aarch64-linux-gnu and libc6-dev-arm64-cross" >&2
        exit 1
    fi
done
rustup target add aarch64-unknown-linux-gnu

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
# Some of the tests compare all pairs of thousands of vectors, which takes an emulator long without optimisation.
export CARGO_PROFILE_TEST_OPT_LEVEL=3
exec cargo test --package quire-vectors --target aarch64-unknown-linux-gnu "$@"
