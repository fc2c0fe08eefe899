#!/usr/bin/env bash
# `make test-engines`: every engine's checks in turn, and those beside other firewalls, then what ran and what this host made them skip: all.sh [RUNTIME]
set -uo pipefail
engines=$(cd "$(dirname "$0")" && pwd)
. "$engines/../scripts/narrate.sh"
MINIRUN_ENGINE_SUMMARY=$(mktemp)
export MINIRUN_ENGINE_SUMMARY
trap 'rm -f "$MINIRUN_ENGINE_SUMMARY"' EXIT
failed=()
for engine in docker containerd podman podman_suite swarm firewalls; do
    "$engines/$engine.sh" "$@" || failed+=("$engine")
done
heading "what ran"
cat "$MINIRUN_ENGINE_SUMMARY"
[ ${#failed[@]} = 0 ] || die "engines that failed: ${failed[*]}"
