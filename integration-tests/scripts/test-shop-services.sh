#!/usr/bin/env bash
# Tests the shop's services without containers: test-shop-services.sh [-v] [TEST...]
#
# With the Python and the packages that they run with, from the root filesystem (built first when its recipe changed), but in
# no container: the dynamic linker is told where everything is. Needs no network but loopback; no privilege once it is built.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"

root=$repository/rootfs-examples/build/python3.11/rootfs
if [ "$(id -u)" = 0 ]; then
    "$repository/rootfs-examples/build.sh" python3.11
elif [ ! -d "$root" ]; then
    die "there is no $root: run make rootfs as root"
fi
linker=$(find "$root/usr/lib64" "$root/usr/lib" -maxdepth 1 -name 'ld-linux-*.so.*' | head -n1)
libraries=$root/usr/lib/$(uname -m)-linux-gnu

cd "$repository/bundles/shop/tests"
[ $# != 0 ] || set -- discover
exec env -u REGISTRY PYTHONHOME="$root/usr" PYTHONPATH="$root/usr/local/lib/python3.11/dist-packages" PYTHONDONTWRITEBYTECODE=1 \
    "$linker" --library-path "$libraries" "$root/usr/bin/python3.11" -m unittest "$@"
