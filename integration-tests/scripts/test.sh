#!/usr/bin/env bash
# Runs tests, then shows their totals and everything that was skipped:
#
#   test.sh host [CARGO-TEST-ARGUMENT...]    unit and integration tests on this host
#   test.sh vm [FILTER...]                   the same on cgroup v2, in the emulated machine: see vm/run.sh
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
. "$scripts/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

where=${1:-host}
shift || true
case $where in
    host) command=(cargo test --no-fail-fast "$@") ;;
    vm) command=(integration-tests/vm/run.sh "$@") ;;
    *) die "usage: test.sh host|vm [ARGUMENT...]" ;;
esac
[ "$(id -u)" = 0 ] || [ "$where" = vm ] ||
    die "the integration tests make containers, so they need root (make test-unit does not)"
export MINIRUN_BIN=${MINIRUN_BIN:-$repository/bin/minirun}

mkdir -p "$logs"
log=$logs/test-$where.log
status=0
"${command[@]}" 2>&1 | tee "$log" || status=$?
if [ "$where" = host ] && [ $# = 0 ]; then
    heading "the shop's services"
    "$scripts/test-shop-services.sh" 2>&1 | tee -a "$log" || status=$?
fi

heading "skipped here"
grep -ohE 'SKIPPED .*' "$log" | sort -u || say "nothing"
heading "totals"
grep -E '^ +(Running|Doc-tests)|^test result:|^Ran [0-9]+ tests|^OK|^FAILED \(' "$log" || true
if [ "$status" = 0 ]; then
    good "all tests passed"
else
    bad "tests failed (exit status $status); the whole output is in ${log#"$repository/"}"
fi
exit "$status"
