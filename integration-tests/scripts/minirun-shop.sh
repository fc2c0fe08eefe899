#!/usr/bin/env bash
# The shop by `minirun run`, container by container: minirun-shop.sh up | down
#
# The networks, policies and limits of bundles/shop/compose.yaml, with nobody who watches and restarts. For the load test, which
# compares it with raw-shop.sh. SHOP_PORT (8080): the host's port. SHOP_SECCOMP: a profile in OCI form, for all containers.
# Made for a host of its own (sandbox.sh). Logs are in MINIRUN_SHOP_STATE (/run/minirun-shop).
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
. "$(dirname "$0")/shop-answers.sh"

minirun=${MINIRUN_BIN:-$repository/bin/minirun}
state=${MINIRUN_SHOP_STATE:-/run/minirun-shop}
# Name, bundle, networks: in the order in which they start.
containers=(
    "redis-cache redis-cache cache"
    "postgres-db postgres-db database"
    "service-registry service-registry backend"
    "product-1 product-service backend cache"
    "product-2 product-service backend cache"
    "product-3 product-service backend cache"
    "order-service order-service backend database"
    "api-gateway api-gateway frontend backend"
    "nginx-lb nginx-lb frontend"
)

make_networks() {
    local network number=20 options rule
    for network in frontend backend cache database; do
        options=(--subnet "172.$number.0.0/24" --within deny --egress deny)
        [ "$network" = frontend ] || options+=(--internal)
        "$minirun" network create "${options[@]}" "$network" >/dev/null
        number=$((number + 1))
    done
    while read -ra rule; do
        "$minirun" network policy allow "${rule[@]}" >/dev/null
    done <<'RULES'
--network frontend nginx-lb api-gateway 3000/tcp
--network backend api-gateway product-service 5000/tcp
--network backend api-gateway order-service 5000/tcp
--network backend * service-registry 8500/tcp
--network cache product-service redis-cache 6379/tcp
--network database order-service postgres-db 5432/tcp
RULES
}

# A bundle as the shop wants it: the database on disk, a seccomp profile where one is given.
bundle() { # NAME BUNDLE
    local source=$repository/bundles/$2 made=$state/$1
    mkdir -p "$made" "$state/orders"
    chown 997:997 "$state/orders"
    chmod 0700 "$state/orders"
    jq --arg source "$source" --arg orders "$state/orders" --slurpfile seccomp "${SHOP_SECCOMP:-/dev/null}" '
        .root.path = "\($source)/\(.root.path)"
        | .mounts |= map(if .type == "bind" then .source = "\($source)/\(.source)" else . end)
        | .mounts |= map(if .destination == "/var/lib/postgresql/data"
            then {destination, type: "bind", source: $orders, options: ["bind", "nosuid", "nodev"]} else . end)
        | if $seccomp[0] then .linux.seccomp = $seccomp[0] else . end' "$source/config.json" >"$made/config.json"
}

start() { # NAME BUNDLE NETWORK...
    local name=$1 bundle=$2 network options=()
    shift 2
    bundle "$name" "$bundle"
    for network in "$@"; do options+=(--network "$network:alias=$bundle"); done
    [ "$name" != nginx-lb ] || options+=(--publish "$port:80")
    "$minirun" run -d --keep --name "$name" --hostname "$name" "${options[@]}" "$state/$name/" >"$state/$name/log" 2>&1 </dev/null
}

up() {
    local container
    [ "$(id -u)" = 0 ] || die "containers with a network need root"
    [ ! -e "$state" ] || die "$state exists: minirun-shop.sh down first"
    trap 'status=$?; [ $status = 0 ] || { bad "the shop did not come up"; tail -n 3 "$state"/*/log >&2; down; }
        exit $status' EXIT
    make_networks
    for container in "${containers[@]}"; do
        # shellcheck disable=SC2086 # words on purpose
        start $container
    done
    await_shop
}

# Takes away whatever is there, also after an `up` that was interrupted.
down() {
    local number
    for ((number = ${#containers[@]} - 1; number >= 0; number--)); do
        "$minirun" delete -f "${containers[number]%% *}" >/dev/null 2>&1 || true
    done
    "$minirun" network rm frontend backend cache database >/dev/null 2>&1 || true
    rm -rf "$state"
}

case ${1:-} in
    up) up ;;
    down) down ;;
    *) die "usage: minirun-shop.sh up | down" ;;
esac
