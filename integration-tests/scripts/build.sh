#!/usr/bin/env bash
# Builds bin/minirun, one static binary: build.sh [PROFILE [EXAMPLE...]] (release unless told)
#
# The programs of examples/ that are named come into bin/ too, built the same way: the benchmark's.
#
# With the musl target where the toolchain has it, else with glibc's static library. Static glibc needs an explicit
# --target: without it the flag would reach procedural macros and build scripts too, which cannot be static.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

profile=${1:-release}
examples=("${@:2}")
machine=$(uname -m)
target=$machine-unknown-linux-musl
# At a fixed address: relocating itself is a sixth of what a short command takes (docs/decisions/release-build.md).
export RUSTFLAGS="${RUSTFLAGS:-} -C relocation-model=static -C symbol-mangling-version=v0"
if [ ! -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ]; then
    target=$machine-unknown-linux-gnu
    RUSTFLAGS+=" -C target-feature=+crt-static"
fi
say "building bin/minirun for $target, profile $profile"
cargo build --bin minirun "${examples[@]/#/--example=}" --profile "$profile" --target "$target"

built=${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}
mkdir -p bin
for program in minirun "${examples[@]/#/examples/}"; do
    # A new file, renamed into place: a running minirun keeps the old one.
    cp "$built/$program" "bin/.${program##*/}.new"
    mv "bin/.${program##*/}.new" "bin/${program##*/}"
done
if LC_ALL=C ldd bin/minirun 2>/dev/null | grep -q '=>'; then
    die "bin/minirun is not static: $(ldd bin/minirun | tr -s '\n\t' ' ')"
fi
good "bin/minirun: static, $(du -k --apparent-size bin/minirun | cut -f1) KiB"
