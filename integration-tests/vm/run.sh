#!/bin/sh
# `make test-vm`: the scenarios in the cgroup v2 machine.
#
#   run.sh [FILTER...]        runs those whose names contain one of the filters; all without one
#
# MINIRUN_BIN is the runtime (default bin/minirun), MINIRUN_TEST_BIN the test program (default: built here).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
runtime=${MINIRUN_BIN:-bin/minirun}
tests=${MINIRUN_TEST_BIN:-}

if [ -z "$tests" ]; then
    tests=$(cargo test --test scenarios --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*scenarios-[^"]*\)".*/\1/p' | tail -n 1)
fi
[ -x "$runtime" ] || { echo "vm: no runtime at $runtime: make build" >&2 && exit 1; }
[ -x "$tests" ] || { echo "vm: no test program" >&2 && exit 1; }

# Where the machine finds more of the world, more scenarios run; what is missing they skip by name.
set -- --file "$runtime:/usr/bin/minirun" --file "$tests:/usr/bin/scenarios" -- "$@"
for program in runc nft ip; do
    found=$(command -v "$program" || true)
    [ -z "$found" ] || set -- --file "$found:/usr/sbin/$program" "$@"
done
options=
while [ "$1" != -- ]; do
    options="$options $1 $2"
    shift 2
done
shift
# shellcheck disable=SC2086 # the options are words, the paths of a build tree have no blanks
exec "$here/boot.sh" --timeout "${MINIRUN_VM_TIMEOUT:-900}" $options \
    "MINIRUN_BIN=/usr/bin/minirun MINIRUN_CRASH_ROUNDS=${MINIRUN_CRASH_ROUNDS:-15} scenarios --test-threads=1 $*"
