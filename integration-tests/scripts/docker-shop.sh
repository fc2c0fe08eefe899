#!/usr/bin/env bash
# The shop under Docker: docker-shop.sh daemon | up | down | images
#
# A dockerd of its own, with images made of the same root filesystems and services, the same networks and limits, the same
# privileges, and Docker's own name server, proxies and firewall rules. For the load test, which compares it with minirun.
# SHOP_PORT (8080): the host's port. SHOP_SECCOMP=unconfined: without Docker's seccomp profile. DOCKER_COMPOSE: the program
# that starts bundles/shop/compose.yaml instead of one `docker run` after the other.
#
# Made for a host of its own (pid, mount and network namespaces with an empty /run): `up` starts the daemon
# unless `daemon` did, `down` ends it.
# What it stores, images included, stays in DOCKER_SHOP_STATE (/var/tmp/docker-shop) until that is removed.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
. "$(dirname "$0")/shop-answers.sh"

state=${DOCKER_SHOP_STATE:-/var/tmp/docker-shop}
bundles=$repository/bundles
bundle_names=(redis-cache postgres-db service-registry product-service order-service api-gateway nginx-lb)
# Name, image, networks: in the order in which they start.
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

# Debian's client with Debian's daemon, whatever else is installed.
docker() { command "${DOCKER:-/usr/bin/docker}" --config "$state/client" -H "unix://$state/docker.sock" "$@"; }

start_daemon() {
    mkdir -p "$state"
    cat >"$state/daemon.json" <<JSON
{
  "data-root": "$state/data",
  "exec-root": "$state/exec",
  "pidfile": "$state/docker.pid",
  "hosts": ["unix://$state/docker.sock"],
  "cgroup-parent": "/docker-shop",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "bip": "10.213.0.1/24"
}
JSON
    dockerd --config-file "$state/daemon.json" >"$state/dockerd.log" 2>&1 </dev/null &
    disown
    local deadline=$((SECONDS + 60))
    until docker version >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { tail -n 5 "$state/dockerd.log" >&2; die "dockerd does not start: see $state/dockerd.log"; }
        sleep 0.1
    done
}

# --- images -------------------------------------------------------------------------------------------------------

# A bundle as an image: its root filesystem with what it binds, its program, user and environment.
make_image() { # BUNDLE
    local bundle=$bundles/$1 config=$bundles/$1/config.json layer=$state/layer destination source changes line
    rm -rf "$layer"
    cp -a "$bundle/$(jq -r .root.path "$config")" "$layer"
    while IFS=$'\t' read -r destination source; do
        rm -rf "$layer$destination"
        cp -a "$bundle/$source" "$layer$destination"
    done < <(jq -r '.mounts[] | select(.type == "bind") | [.destination, .source] | @tsv' "$config")
    mapfile -t changes < <(jq -r '.process |
        "CMD \(.args | tojson)", "USER \(.user.uid):\(.user.gid)", "WORKDIR \(.cwd)",
        (.env[] | capture("(?<name>[^=]*)=(?<value>.*)") | "ENV \(.name)=\(.value | tojson)")' "$config")
    local options=()
    for line in "${changes[@]}"; do options+=(--change "$line"); done
    tar -C "$layer" -c . | docker import "${options[@]}" - "shop/$1" >/dev/null
    rm -rf "$layer"
}

make_images() {
    local name
    for name in "${bundle_names[@]}"; do make_image "$name"; done
}

# --- containers ---------------------------------------------------------------------------------------------------

make_networks() {
    local network number=20 options
    for network in frontend backend cache database; do
        options=(--subnet "172.$number.0.0/24")
        [ "$network" = frontend ] || options+=(--internal)
        docker network create "${options[@]}" "$network" >/dev/null
        number=$((number + 1))
    done
}

start() { # NAME IMAGE NETWORK...
    local name=$1 image=$2 config=$bundles/$2/config.json network options quota
    shift 2
    options=(--name "$name" --hostname "$name" --read-only --cap-drop ALL --security-opt no-new-privileges
        --memory "$(jq .linux.resources.memory.limit "$config")" --memory-swap "$(jq .linux.resources.memory.swap "$config")"
        --pids-limit "$(jq .linux.resources.pids.limit "$config")" --network "$1" --network-alias "$image")
    quota=$(jq '.linux.resources.cpu.quota // empty' "$config")
    [ -z "$quota" ] || options+=(--cpu-quota "$quota" --cpu-period 100000)
    [ "${SHOP_SECCOMP:-}" != unconfined ] || options+=(--security-opt seccomp=unconfined)
    while read -r mount; do options+=(--tmpfs "$mount"); done < <(jq -r '.mounts[]
        | select(.type == "tmpfs" and (.destination | startswith("/dev") or . == "/var/lib/postgresql/data" | not))
        | "\(.destination):\(.options | join(","))"' "$config")
    [ "$image" != postgres-db ] || options+=(--volume orders:/var/lib/postgresql/data)
    [ "$image" != nginx-lb ] || options+=(--publish "$port:80")
    docker create "${options[@]}" "shop/$image" >/dev/null
    for network in "${@:2}"; do docker network connect --alias "$image" "$network" "$name"; done
    docker start "$name" >/dev/null
}

# --- the same by Compose -------------------------------------------------------------------------------------------

compose() { DOCKER_HOST=unix://$state/docker.sock "$DOCKER_COMPOSE" --file "$state/compose.json" "$@"; }

# What our bundles say and images cannot. As often as our supervisor asks for a service's health while it starts, Docker asks
# all the time: before version 25 it knows no other interval.
compose_privileges() {
    local name
    for name in "${bundle_names[@]}"; do
        jq --arg name "$name" '{services: {($name): {
            read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges"],
            deploy: {resources: {limits: {pids: .linux.resources.pids.limit}}},
            tmpfs: [.mounts[]
                | select(.type == "tmpfs" and (.destination | startswith("/dev") or . == "/var/lib/postgresql/data" | not))
                | "\(.destination):\(.options | join(","))"],
            healthcheck: {interval: "500ms", timeout: "3s", retries: 60}}}}' "$bundles/$name/config.json"
    done | jq -s 'reduce .[] as $one ({}; . * $one)' >"$state/privileges.json"
    "$DOCKER_COMPOSE" --file "$bundles/shop/compose.yaml" --file "$state/privileges.json" config --format json |
        jq 'del(.services[].healthcheck.start_interval)' >"$state/compose.json"
}

# --- the shop -----------------------------------------------------------------------------------------------------

up() {
    local container
    [ "$(id -u)" = 0 ] || die "a Docker daemon needs root"
    trap 'status=$?; [ $status = 0 ] || { bad "the shop did not come up"; tail -n 3 "$state/dockerd.log" >&2; down; }
        exit $status' EXIT
    docker version >/dev/null 2>&1 || start_daemon
    docker image inspect "${bundle_names[@]/#/shop/}" >/dev/null 2>&1 || make_images
    if [ -n "${DOCKER_COMPOSE:-}" ]; then
        compose_privileges
        compose up --detach --wait --quiet-pull
    else
        make_networks
        for container in "${containers[@]}"; do
            # shellcheck disable=SC2086 # words on purpose
            start $container
        done
    fi
    await_shop
}

# Takes away containers, networks and the daemon; images stay.
down() {
    local pid
    [ -z "${DOCKER_COMPOSE:-}" ] || compose down --volumes --timeout 1 >/dev/null 2>&1 || true
    docker ps -aq 2>/dev/null | while read -r container; do docker rm -fv "$container" >/dev/null 2>&1 || true; done
    docker volume rm orders >/dev/null 2>&1 || true
    docker network rm frontend backend cache database >/dev/null 2>&1 || true
    pid=$(cat "$state/docker.pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    # Whoever is process 1 here may leave the dead lying about.
    while grep -q '^State:.[^ZX]' "/proc/$pid/status" 2>/dev/null; do sleep 0.1; done
    find /sys/fs/cgroup -depth -type d \( -name docker-shop -o -path "*/docker-shop/*" \) -exec rmdir {} + 2>/dev/null || true
}

images() {
    start_daemon
    make_images
    docker images
    down
}

case ${1:-} in
    daemon) start_daemon ;;
    up) up ;;
    down) down ;;
    images) images ;;
    *) die "usage: docker-shop.sh daemon | up | down | images" ;;
esac
