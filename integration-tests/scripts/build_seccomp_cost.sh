#!/usr/bin/env bash
# Builds bin/seccomp-cost, a static program with libseccomp in it. With glibc wherever minirun is built with musl, too: that
# is what the system's libseccomp.a is made for.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

target=$(uname -m)-unknown-linux-gnu
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" LIBSECCOMP_LINK_TYPE=static \
    LIBSECCOMP_LIB_PATH=$(dirname "$(gcc -print-file-name=libseccomp.a)") \
    cargo build --release --example seccomp-cost --target "$target"
mkdir -p bin
cp "${CARGO_TARGET_DIR:-target}/$target/release/examples/seccomp-cost" bin/.seccomp-cost.new
mv bin/.seccomp-cost.new bin/seccomp-cost
good "bin/seccomp-cost: static, with libseccomp $(dpkg-query -W -f '${Version}' libseccomp-dev 2>/dev/null || echo 'of an unknown version')"
