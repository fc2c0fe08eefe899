#!/usr/bin/env bash
# The shop by hand, without a runtime: raw-shop.sh up | down
#
# What people write who do it themselves: `ip netns`, veth pairs, bridges, a DNAT rule, `unshare`, mounts, `chroot`, cgroup
# files. The bundles, root filesystems, users, mounts and limits are those that minirun gets; there is no seccomp filter, no name
# server (names are in /etc/hosts) and nobody who watches. The load test compares the runtimes with this.
#
# SHOP_PORT (8080): the host's port. RAW_SHOP_STATE (/run/raw-shop): logs, the database. Made for a host of its own
# (sandbox.sh): it takes 172.20.0.0/24 to 172.23.0.0/24 and the table `ip raw_shop`.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
. "$(dirname "$0")/shop-answers.sh"

state=${RAW_SHOP_STATE:-/run/raw-shop}
cgroups=raw-shop
bundles=$repository/bundles
networks=(frontend backend cache database) # 172.20.0.0/24 and so on
# Name, bundle, addresses: in the order in which they start.
containers=(
    "redis-cache redis-cache cache=172.22.0.10"
    "postgres-db postgres-db database=172.23.0.10"
    "service-registry service-registry backend=172.21.0.10"
    "product-1 product-service backend=172.21.0.21 cache=172.22.0.21"
    "product-2 product-service backend=172.21.0.22 cache=172.22.0.22"
    "product-3 product-service backend=172.21.0.23 cache=172.22.0.23"
    "order-service order-service backend=172.21.0.30 database=172.23.0.30"
    "api-gateway api-gateway frontend=172.20.0.10 backend=172.21.0.40"
    "nginx-lb nginx-lb frontend=172.20.0.20"
)

# --- networks -----------------------------------------------------------------------------------------------------

make_networks() {
    local number network
    for number in "${!networks[@]}"; do
        network=${networks[number]}
        ip link add "raw-$network" type bridge
        ip addr add "172.$((20 + number)).0.1/24" dev "raw-$network"
        ip link set "raw-$network" up
    done
    # 127.0.0.1:$port leads to a container, too: the answers come back to an address of the loopback.
    echo 1 >/proc/sys/net/ipv4/conf/raw-frontend/route_localnet
    cat /proc/sys/net/ipv4/ip_forward >"$state/ip_forward"
    echo 1 >/proc/sys/net/ipv4/ip_forward
    nft -f - <<NFT
table ip raw_shop {
    chain prerouting {
        type nat hook prerouting priority dstnat
        fib daddr type local tcp dport $port dnat to 172.20.0.20:80
    }
    chain output {
        type nat hook output priority -100
        fib daddr type local tcp dport $port dnat to 172.20.0.20:80
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "raw-frontend" ip saddr 127.0.0.0/8 masquerade
        ip saddr 172.20.0.0/24 oifname != "raw-*" masquerade
    }
    chain forward {
        type filter hook forward priority filter
        # Where br_netfilter is on, packets inside a bridge come by here as well.
        iifname . oifname { "raw-frontend" . "raw-frontend", "raw-backend" . "raw-backend" } accept
        iifname . oifname { "raw-cache" . "raw-cache", "raw-database" . "raw-database" } accept
        iifname "raw-*" oifname "raw-*" drop
    }
}
NFT
}

join() { # NAME NETWORK=ADDRESS...
    local name=$1 number=0 join link
    shift
    ip netns add "raw-$name"
    ip -n "raw-$name" link set lo up
    for join in "$@"; do
        links=$((links + 1))
        link=raw-veth$links
        ip link add "$link" type veth peer name "eth$number" netns "raw-$name"
        ip link set "$link" master "raw-${join%%=*}" up
        ip -n "raw-$name" addr add "${join#*=}/24" dev "eth$number"
        ip -n "raw-$name" link set "eth$number" up
        number=$((number + 1))
    done
    ip netns exec "raw-$name" sh -c 'echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start'
}

# --- limits -------------------------------------------------------------------------------------------------------

# Not below a common parent, with whom on a busy host all of the shop would get the share of one.
cgroup_directories() { # NAME
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        echo "/sys/fs/cgroup/$cgroups-$1"
    else
        printf "/sys/fs/cgroup/%s/$cgroups-$1\n" cpu memory pids
    fi
}

limit() { # NAME CONFIG
    local quota memory pids
    quota=$(jq -r '.linux.resources.cpu.quota // "max"' "$2")
    memory=$(jq -r .linux.resources.memory.limit "$2")
    pids=$(jq -r .linux.resources.pids.limit "$2")
    cgroup_directories "$1" | xargs mkdir -p
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
        echo "$quota 100000" >"/sys/fs/cgroup/$cgroups-$1/cpu.max"
        echo "$memory" >"/sys/fs/cgroup/$cgroups-$1/memory.max"
        echo 0 >"/sys/fs/cgroup/$cgroups-$1/memory.swap.max"
        echo "$pids" >"/sys/fs/cgroup/$cgroups-$1/pids.max"
    else
        [ "$quota" = max ] || echo "$quota" >"/sys/fs/cgroup/cpu/$cgroups-$1/cpu.cfs_quota_us"
        echo "$memory" >"/sys/fs/cgroup/memory/$cgroups-$1/memory.limit_in_bytes"
        echo "$pids" >"/sys/fs/cgroup/pids/$cgroups-$1/pids.max"
    fi
}

# --- one container ------------------------------------------------------------------------------------------------

# Runs in the new namespaces: puts the root filesystem together and becomes the service.
enter() { # NAME BUNDLE
    local name=$1 bundle=$bundles/$2 config=$bundles/$2/config.json root=$state/$1/root
    local destination type source options node user arguments environment
    mount --make-rprivate /
    hostname "$name"
    mkdir -p "$root"
    mount --bind "$bundle/$(jq -r .root.path "$config")" "$root"
    while IFS=$'\t' read -r destination type source options; do
        case $type in
            cgroup) ;;
            bind)
                mount --bind "$bundle/$source" "$root$destination"
                mount -o remount,bind,ro,nosuid,nodev "$root$destination"
                ;;
            *) mount -t "$type" -o "$options" "$source" "$root$destination" ;;
        esac
        [ "$destination" != /dev ] || mkdir "$root"/dev/{pts,shm,mqueue}
    done < <(jq -r '.mounts[] | [.destination, .type, .source, (.options | join(","))] | @tsv' "$config")
    for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 0666 "$root/dev/${node%:*}" c 1 "${node#*:}"; done
    ln -s /proc/self/fd "$root/dev/fd"
    mount --bind "$state/hosts" "$root/etc/hosts"
    if [ "$2" = postgres-db ]; then
        mkdir -p "$state/orders"
        chown 997:997 "$state/orders"
        chmod 0700 "$state/orders"
        mount --bind "$state/orders" "$root/var/lib/postgresql/data"
    fi
    mount -o remount,bind,ro "$root"
    user=$(jq -r '"\(.process.user.uid):\(.process.user.gid)"' "$config")
    mapfile -t environment < <(jq -r '.process.env[]' "$config")
    mapfile -t arguments < <(jq -r '.process | .cwd, .args[]' "$config")
    exec chroot --userspec="$user" --groups= "$root" /usr/bin/env -i "${environment[@]}" \
        /bin/sh -c 'cd "$0" && exec "$@"' "${arguments[@]}"
}

start() { # NAME BUNDLE NETWORK=ADDRESS...
    local name=$1 bundle=$2 directory
    shift 2
    mkdir "$state/$name"
    join "$name" "$@"
    limit "$name" "$bundles/$bundle/config.json"
    (
        for directory in $(cgroup_directories "$name"); do echo "$BASHPID" >"$directory/cgroup.procs"; done
        exec setsid nsenter --net="/run/netns/raw-$name" unshare --mount --pid --ipc --uts --fork \
            "$BASH" "$0" enter "$name" "$bundle" >"$state/$name/log" 2>&1 </dev/null
    ) &
    disown
}

# --- the shop -----------------------------------------------------------------------------------------------------

up() {
    local container joins name bundle join
    [ "$(id -u)" = 0 ] || die "namespaces and networks need root"
    [ ! -e "$state" ] || die "$state exists: raw-shop.sh down first"
    mkdir -p "$state"
    trap 'status=$?; [ $status = 0 ] || { bad "the shop did not come up"; tail -n 3 "$state"/*/log >&2; down; }
        exit $status' EXIT
    links=0
    {
        echo '127.0.0.1 localhost'
        for container in "${containers[@]}"; do
            read -r name bundle joins <<<"$container"
            # A name leads to the first network that two have in common; here that is the first of each.
            join=${joins%% *}
            echo "${join#*=} $bundle"
        done
    } >"$state/hosts"
    make_networks
    for container in "${containers[@]}"; do
        # shellcheck disable=SC2086 # words on purpose
        start $container # and nobody waits for anybody: each says that it is not ready until the others are
    done
    await_shop
}

# Takes away whatever is there, also after an `up` that was interrupted.
down() {
    local container namespace link directory pids
    for directory in $(for container in "${containers[@]}"; do cgroup_directories "${container%% *}"; done); do
        [ -d "$directory" ] || continue
        # Process 1 takes everybody in its pid namespace with it; asked again until nobody is left.
        for _ in {1..200}; do
            pids=$(cat "$directory/cgroup.procs")
            [ -n "$pids" ] || break
            # shellcheck disable=SC2086 # words on purpose
            kill -KILL $pids 2>/dev/null || true
            sleep 0.05
        done
        rmdir "$directory" || bad "$directory is still in use"
    done
    for container in "${containers[@]}"; do
        namespace=raw-${container%% *}
        [ ! -e "/run/netns/$namespace" ] || ip netns del "$namespace"
    done
    nft delete table ip raw_shop 2>/dev/null || true
    for link in "${networks[@]/#/raw-}"; do ip link del "$link" 2>/dev/null || true; done
    [ ! -f "$state/ip_forward" ] || cat "$state/ip_forward" >/proc/sys/net/ipv4/ip_forward
    rm -rf "$state"
}

case ${1:-} in
    up) up ;;
    down) down ;;
    enter) enter "$2" "$3" ;;
    *) die "usage: raw-shop.sh up | down" ;;
esac
