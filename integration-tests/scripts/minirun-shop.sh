#!/usr/bin/env bash
# The shop by `minirun compose`, for the load test: minirun-shop.sh up | down
#
# bundles/shop/compose.yaml, with a rate of new connections that no load test reaches. SHOP_PORT (8080): the host's port.
# SHOP_SECCOMP: a profile in OCI form, for all containers. Made for a host of its own (sandbox.sh). MINIRUN_SHOP_STATE
# (/run/minirun-shop): where bundles with the profile are made.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
. "$(dirname "$0")/shop-answers.sh"

minirun=${MINIRUN_BIN:-$repository/bin/minirun}
state=${MINIRUN_SHOP_STATE:-/run/minirun-shop}
export SHOP_PORT=$port SHOP_RATE=1000000/second SHOP_BURST=100000
services=(nginx-lb api-gateway product-service order-service service-registry redis-cache postgres-db)

compose() {
    local files=(-f "$repository/bundles/shop/compose.yaml")
    [ ! -e "$state/compose.yaml" ] || files+=(-f "$state/compose.yaml")
    "$minirun" compose "${files[@]}" "$@"
}

# Copies of the bundles' config.json with the profile, and a Compose file that takes them instead.
add_profile() { # PROFILE
    local service
    mkdir "$state"
    echo services: >"$state/compose.yaml"
    for service in "${services[@]}"; do
        mkdir "$state/$service"
        jq --arg source "$repository/bundles/$service" --slurpfile seccomp "$1" '
            .root.path = "\($source)/\(.root.path)"
            | .mounts |= map(if .type == "bind" then .source = "\($source)/\(.source)" else . end)
            | .linux.seccomp = $seccomp[0]' "$repository/bundles/$service/config.json" >"$state/$service/config.json"
        echo "  $service: { x-bundle: $state/$service }" >>"$state/compose.yaml"
    done
}

up() {
    [ "$(id -u)" = 0 ] || die "containers with a network need root"
    [ ! -e "$state" ] || die "$state exists: minirun-shop.sh down first"
    trap 'status=$?; [ $status = 0 ] || { bad "the shop did not come up"; down; }; exit $status' EXIT
    [ -z "${SHOP_SECCOMP:-}" ] || add_profile "$SHOP_SECCOMP"
    compose up --wait --quiet
    await_shop
}

# Takes away whatever is there, also after an `up` that was interrupted.
down() {
    compose down --volumes >/dev/null 2>&1 || true
    rm -rf "$state"
}

case ${1:-} in
    up) up ;;
    down) down ;;
    *) die "usage: minirun-shop.sh up | down" ;;
esac
