#!/usr/bin/env bash
# Runs a command on a host of its own: sandbox.sh COMMAND...
#
# A private network namespace (loopback only) and a private mount namespace with fresh /run/minirun and /var/lib/minirun:
# what the command makes of networks and records never touches the machine, and is gone when it ends. Cgroups and processes
# are the machine's. `sandbox.sh make demo` runs the demo beside whatever else uses minirun on this host.
set -euo pipefail
[ $# != 0 ] || { echo "usage: sandbox.sh COMMAND..." >&2; exit 2; }
exec unshare --mount --net --propagation private sh -euc '
    mkdir -p /run/minirun /var/lib/minirun
    mount -t tmpfs tmpfs /run/minirun
    mount -t tmpfs tmpfs /var/lib/minirun
    ip link set lo up
    exec "$@"' sandbox "$@"
