#!/usr/bin/env bash
# `make test-engines`: every engine's checks in turn, and those beside other firewalls, then what ran and what this host made
# them skip: all.sh [RUNTIME]
#
# QUICK=1 takes the checks of quick.txt alone. ENGINES=sid takes Debian sid's engines, where peers.sh has unpacked them.
set -uo pipefail
engines=$(cd "$(dirname "$0")" && pwd)
. "$engines/../scripts/narrate.sh"
MINIRUN_ENGINE_SUMMARY=$(mktemp)
export MINIRUN_ENGINE_SUMMARY
trap 'rm -f "$MINIRUN_ENGINE_SUMMARY"' EXIT
failed=() engines_of=(docker containerd podman podman_suite swarm firewalls)
[ -z "${QUICK:-}" ] || engines_of=(docker containerd podman)
for engine in "${engines_of[@]}"; do
    "$engines/$engine.sh" "$@" || failed+=("$engine")
done
heading "what ran"
cat "$MINIRUN_ENGINE_SUMMARY"
[ ${#failed[@]} = 0 ] || die "engines that failed: ${failed[*]}"
