#!/usr/bin/env bash
# Unit and integration tests, then their totals and everything that was skipped: test.sh [CARGO-TEST-ARGUMENT...]
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

[ "$(id -u)" = 0 ] || die "the integration tests make containers, so they need root (make test-unit does not)"
export MINIRUN_BIN=$repository/bin/minirun
export MINIRUN_TEST_ROOTFS=$repository/rootfs-examples/build/busybox/rootfs

mkdir -p "$logs"
log=$logs/test.log
status=0
cargo test --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

heading "skipped on this host"
grep -ohE 'SKIPPED .*' "$log" | sort -u || say "nothing"
heading "totals"
grep -E '^ +(Running|Doc-tests)|^test result:' "$log" || true
[ "$status" = 0 ] && good "all tests passed" || bad "tests failed (exit status $status); the whole output is in ${log#"$repository/"}"
exit "$status"
