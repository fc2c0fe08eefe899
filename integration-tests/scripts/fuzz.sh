#!/usr/bin/env bash
# Searches with libFuzzer for inputs on which a parser panics: fuzz.sh [TARGET...], FUZZ_SECONDS (60) for each.
#
# Coverage comes from LLVM's own pass, which a stable compiler has too; so this needs crates.io and a C++ compiler, no nightly
# toolchain. Inputs that reached new code stay in target/fuzz/corpus/TARGET for the next time; one that panics, hangs or
# eats memory is written to target/fuzz/found/TARGET-... and fails the run.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

source=integration-tests/fuzz
work=${CARGO_TARGET_DIR:-$repository/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# The flags hold for the target only, not for build scripts: that is what --target is for.
passes="-C passes=sancov-module -C codegen-units=4"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    passes+=" -C llvm-args=-sanitizer-coverage-$option"
done
heading "building the targets for coverage"
# The versions are those of the runtime.
cp Cargo.lock $source/Cargo.lock
CARGO_TARGET_DIR=$work RUSTFLAGS="$passes --cfg fuzzing" cargo build --quiet --release --target "$host" --manifest-path $source/Cargo.toml
program=$work/$host/release/minirun-fuzz

targets=("$@")
[ ${#targets[@]} != 0 ] || read -ra targets <<<"$(sed -n 's/^    ("\([a-z]*\)", [a-z]*),$/\1/p' $source/src/targets.rs | tr '\n' ' ')"

# Words that bytes by chance would not find: the keys and values of the configurations that the tests know.
mkdir -p "$work/found"
sed 's/\\"/"/g' src/spec/load/full.json integration-tests/fixtures/docker-config.json $source/src/seeds.rs |
    grep -oE '"[A-Za-z_.0-9]{2,40}"' | sort -u >"$work/words"

failed=()
for target in "${targets[@]}"; do
    heading "fuzz $target for ${FUZZ_SECONDS:-60} s"
    corpus=$work/corpus/$target
    mkdir -p "$corpus"
    log=$work/$target.log
    if MINIRUN_FUZZ_TARGET=$target MINIRUN_FUZZ_CORPUS=$corpus "$program" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=16384 -timeout=10 -rss_limit_mb=2048 \
        -dict="$work/words" -artifact_prefix="$work/found/$target-" -print_final_stats=1 "$corpus" >"$log" 2>&1 </dev/null; then
        good "$target: $(sed -n 's/^stat::number_of_executed_units: //p' "$log") inputs, $(find "$corpus" -type f | wc -l) of them kept"
    else
        bad "$target: $(grep -m 1 -E 'panicked at|ERROR: libFuzzer' "$log"); the whole output is in $log"
        grep -m 1 -A 3 'panicked at' "$log" >&2 || true
        failed+=("$target")
    fi
done
rm -rf /dev/shm/minirun-fuzz-*
[ ${#failed[@]} = 0 ] || die "fuzz: ${failed[*]} failed; the inputs are in $work/found"
