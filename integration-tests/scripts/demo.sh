#!/usr/bin/env bash
# `make demo`: a Python service with its Redis, each in a container that minirun makes, on a network that minirun makes,
# with a published port, names, and a policy that lets one talk to the other on one port.
# Every step shows the command that a person would type. Exits with 0 only if all of it held and nothing is left.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
cd "$repository"

minirun=${MINIRUN_BIN:-bin/minirun}
containers=(redis-cache product-service)
network=minirun-demo
work=$(mktemp -d)
started=()

# Shows and runs a minirun command; one that hangs is ended instead of hanging the demo.
minirun() {
    show "bin/minirun $*"
    timeout --foreground 60 "$minirun" "$@"
}

# --- what must be gone at the end ---------------------------------------------------------------------------------

# Everything that a container or its network could leave on this host, one line each. A search that finds nothing is no
# failure, so the errors of this function's commands do not count.
footprint() (
    set +e
    names=$(IFS='|'; echo "${containers[*]}")
    ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/interface \1/'
    nft -s list ruleset 2>/dev/null | sed 's/^/nftables /'
    find /sys/fs/cgroup -type d 2>/dev/null | grep -E "/[^/]*($names)[^/]*$" | sed 's/^/cgroup /'
    cut -d' ' -f5 /proc/self/mountinfo | grep -E "minirun|$names" | sed 's/^/mount /'
    # A network remembers which addresses it gave out last, and that it switched forwarding on: no container's.
    find /run/minirun ! -type d ! -name '*lock*' ! -name .netd.sock ! -name history.json ! -name .host.json 2>/dev/null |
        sed 's/^/record /'
    find /var/lib/minirun -name "*$network*" 2>/dev/null | sed 's/^/network /'
    # The dead that wait for this host's init to collect them are its business.
    { grep -lE "($names)" /proc/[0-9]*/cgroup; grep -lx minirun-netd /proc/[0-9]*/comm; } 2>/dev/null | cut -d/ -f3 |
        while read -r pid; do
            grep -q '^State:.[^ZX]' "/proc/$pid/status" 2>/dev/null && echo "process $pid"
        done
    true
)

finish() {
    local status=$? name
    if [ "$status" != 0 ]; then
        bad "the demo failed"
        for name in "${started[@]}"; do
            say "the end of $name's output:"
            tail -n 15 "$logs/$name.log" | sed 's/^/    /'
        done
    fi
    for name in "${started[@]}"; do
        timeout --foreground 60 "$minirun" delete -f "$name" >/dev/null 2>&1 || true
    done
    [ "$status" = 0 ] || timeout --foreground 60 "$minirun" network rm "$network" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

# --- small questions to minirun -----------------------------------------------------------------------------------

address_of() { # the first network's address
    "$minirun" inspect "$1" | jq -er '.networks[0].address'
}

# The file of a container's cgroup, wherever its controller is mounted: one tree on v2, one for each on v1.
cgroup_file() { # CONTAINER FILE...
    local container=$1 directory file
    shift
    "$minirun" inspect "$container" | jq -r '.. | strings | select(startswith("/sys/fs/cgroup"))' |
        while read -r directory; do
            for file in "$@"; do
                [ ! -f "$directory/$file" ] || { echo "$directory/$file"; break 2; }
            done
        done
}

start() { # CONTAINER OPTION...: its output goes to a log, as it would to a terminal
    local container=$1
    shift
    show "bin/minirun run -d $* bundles/$container"
    if "$minirun" state "$container" >/dev/null 2>&1; then
        die "a container named $container exists already; remove it first: bin/minirun delete -f $container"
    fi
    mkdir -p "$logs"
    : >"$logs/$container.log"
    started=("$container" "${started[@]}")
    timeout --foreground 60 "$minirun" run -d "$@" "bundles/$container" >"$logs/$container.log" 2>&1 </dev/null
}

# Waits until the service says that its cache is up or down; what it said last is in $work/health.
cache_is() { # up|down
    local deadline=$((SECONDS + 60))
    until curl -fsS --max-time 5 "$service/health" 2>"$work/curl" | tee "$work/health" | grep -q "\"cache\":\"$1\""; do
        ((SECONDS < deadline)) || {
            cat "$work/curl" "$work/health" >&2
            die "$service/health does not say that the cache is $1 after 60 seconds"
        }
        sleep 0.1
    done
    cat "$work/health"
}

# --- the demo -----------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || die "containers with a network need root: sudo make demo"
[ -x "$minirun" ] || die "there is no $minirun: make build"
footprint | sort -u >"$work/before"

heading "A network on which nobody may talk to anybody"
if "$minirun" network inspect "$network" >/dev/null 2>&1; then
    die "a network named $network exists already; remove it first: bin/minirun network rm $network"
fi
minirun network create --within deny "$network" >/dev/null

heading "Two containers, one command each"
start product-service --network "$network" --publish 5000
start redis-cache --network "$network"
minirun list

heading "A port of this host leads to the service"
show "bin/minirun inspect product-service | jq -c '.networks[0].ports[0]'"
"$minirun" inspect product-service | jq -c '.networks[0].ports[0]'
service=http://127.0.0.1:$("$minirun" inspect product-service | jq -er '.networks[0].ports[0].host')
show "curl $service/health"
cache_is down
good "the service answers, but does not reach its cache"

heading "Names: the service finds its cache, which came later"
lookup='import socket; print(socket.gethostbyname("redis-cache"))'
show "bin/minirun exec product-service python3 -c '$lookup'"
found=$(timeout --foreground 60 "$minirun" exec product-service python3 -c "$lookup")
say "$found"
[ "$found" = "$(address_of redis-cache)" ] || die "that is not the address of redis-cache"

heading "One rule: the service may talk to its cache, on one port"
minirun network policy allow product-service redis-cache 6379/tcp
show "curl $service/health"
cache_is up
minirun network policy ls "$network"
minirun network topology
good "and nothing else may"

heading "The product list, computed once, then from Redis"
for expected in miss hit; do
    show "curl -i $service/products"
    curl -sS -i --max-time 5 "$service/products" | tr -d '\r' >"$work/answer"
    grep -iE '^(HTTP|X-)' "$work/answer"
    tail -n 1 "$work/answer" | jq -r '.[:2][] | "  \(.id)  \(.name)"' && say "  ..."
    grep -qi "^X-Cache: $expected" "$work/answer" || die "expected X-Cache: $expected"
    good "a $expected"
done

heading "Half a processor is half a processor"
cpu_stat=$(cgroup_file product-service cpu.stat)
[ -n "$cpu_stat" ] || die "bin/minirun inspect product-service names no cgroup with cpu.stat"
cpu_cgroup=$(dirname "$cpu_stat")
if [ -f "$cpu_cgroup/cpu.max" ]; then
    run cat "$cpu_cgroup/cpu.max" | tee "$work/quota"
else
    run cat "$cpu_cgroup/cpu.cfs_quota_us" "$cpu_cgroup/cpu.cfs_period_us" | tee "$work/quota"
fi
[ "$(grep -v '^\S*\$' "$work/quota" | xargs)" = "50000 100000" ] || die "the quota is not 50 ms in 100 ms"
throttled() { awk '$1 == "nr_throttled" { print $2 }' "$cpu_stat"; }
burst='import os, time
workers = min(os.cpu_count(), 8)
for _ in range(workers):
    if os.fork() == 0:
        end = time.monotonic() + 2
        while time.monotonic() < end: pass
        os._exit(0)
for _ in range(workers): os.wait()
print(f"{workers} processes, busy for 2 s, got {os.times().children_user / 2:.0%} of one processor")'
before=$(throttled)
# On a host that is busy itself a burst may not even get its half: then there is nothing to throttle, and it tries again.
for _ in {1..5}; do
    show "bin/minirun exec product-service python3 -c '<busy on every processor for two seconds>'"
    timeout --foreground 60 "$minirun" exec product-service python3 -c "$burst" | tee "$work/burst"
    share=$(grep -oE '[0-9]+%' "$work/burst" | tr -d %)
    [ "$share" -le 60 ] || die "more than half a processor"
    after=$(throttled)
    [ "$after" -le "$before" ] || break
    say "the host is too busy to give it half a processor"
done
show "grep nr_throttled $cpu_stat"
say "nr_throttled $after (before: $before)"
if [ "$after" -gt "$before" ]; then
    good "the kernel stopped it $((after - before)) times"
else
    say "NOT SHOWN: throttling. The quota is set and was never exceeded, because this host is too busy to reach it."
fi

heading "128 MiB are 128 MiB"
limit=$(cgroup_file product-service memory.max memory.limit_in_bytes)
[ -n "$limit" ] || die "bin/minirun inspect product-service names no cgroup with a memory limit"
run cat "$limit"
[ "$(cat "$limit")" = $((128 << 20)) ] || die "the limit is not 128 MiB"
show "bin/minirun exec product-service python3 -c 'b\"x\" * (200 << 20)'; echo \$?"
status=0
timeout --foreground 60 "$minirun" exec product-service python3 -c 'b"x" * (200 << 20)' || status=$?
say "$status"
[ "$status" = 137 ] || die "an allocation of 200 MiB should have been killed with 137"
curl -fsS --max-time 5 "$service/health" >/dev/null || die "the service did not survive its neighbour's greed"
good "the allocation was killed, the service lives on"

heading "All gone"
for name in product-service redis-cache; do minirun delete -f "$name"; done
started=()
minirun network rm "$network"
footprint | sort -u >"$work/after"
if comm -13 "$work/before" "$work/after" | grep .; then
    die "the lines above are left over"
fi
good "no process, cgroup, mount, interface, firewall rule, lease or record is left"
if [ -f /run/minirun/net/.host.json ]; then
    say "What stays on purpose: net.ipv4.ip_forward is 1 since a network needed it (/run/minirun/net/.host.json)."
fi
