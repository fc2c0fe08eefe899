#!/usr/bin/env bash
# `make demo`: the shop of bundles/shop from its Compose file, and a walk through it.
#
# Every step shows the command that a person would type, waits for events and not for times, and ends the demo with the reason
# when it does not hold. Exits with 0 only if all of it held and nothing is left. The project is called shop-demo, so that
# neither containers nor orders of a shop of one's own are touched. SHOP_PORT: the host's port, 8080 or the next free one.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
cd "$repository"

minirun=${MINIRUN_BIN:-bin/minirun}
project=shop-demo
export COMPOSE_FILE=bundles/shop/compose.yaml COMPOSE_PROJECT_NAME=$project
work=$(mktemp -d)
is_up='' asking=()

# Runs a minirun command; one that hangs is ended instead of hanging the demo.
quietly() { timeout --foreground 180 "$minirun" "$@"; }

# The same, shown as a person would type it.
minirun() {
    show "bin/minirun $*"
    quietly "$@"
}

# Asks until the answer is yes. For a minute: that is for hosts that are busy, not for the shop.
await() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || die "waited for a minute, in vain: $what"
        sleep 0.05
    done
}

# --- what must be gone at the end ---------------------------------------------------------------------------------

# Everything that the shop could leave on this host, one line each. A search that finds nothing is no failure, so the errors
# of this function's commands do not count.
footprint() (
    set +e
    network_namespace=$(readlink /proc/self/ns/net)
    ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/interface \1/'
    nft -s list ruleset 2>/dev/null | sed 's/^/nftables /'
    find /sys/fs/cgroup -type d -name "*$project*" 2>/dev/null | sed 's/^/cgroup /'
    cut -d' ' -f5 /proc/self/mountinfo | grep -E "minirun|$project" | sed 's/^/mount /'
    # A network remembers which addresses it gave out last, and that it switched forwarding on: no container's. Events are
    # the host's.
    find /run/minirun ! -type d ! -name '*lock*' ! -name .netd.sock ! -name history.json ! -name .host.json \
        ! -name 'events*' 2>/dev/null | sed 's/^/record /'
    find /run/minirun /var/lib/minirun -name "*$project*" -prune 2>/dev/null | sed 's/^/state /'
    # The dead that wait for this host's init to collect them are its business.
    { grep -l "$project" /proc/[0-9]*/cgroup /proc/[0-9]*/cmdline; grep -lx minirun-netd /proc/[0-9]*/comm; } 2>/dev/null |
        cut -d/ -f3 | sort -u | while read -r pid; do
            [ "$(readlink "/proc/$pid/ns/net")" = "$network_namespace" ] || grep -q "$project" "/proc/$pid/cgroup" || continue
            grep -q '^State:.[^ZX]' "/proc/$pid/status" && echo "process $pid $(<"/proc/$pid/comm")"
        done 2>/dev/null
    true
)

nothing_is_left() {
    footprint | sort -u >"$work/after"
    comm -13 "$work/before" "$work/after" >"$work/left"
    [ ! -s "$work/left" ]
}

finish() {
    local status=$?
    trap - EXIT
    stop_asking
    if [ "$status" != 0 ]; then
        bad "the demo failed"
        if [ -n "$is_up" ]; then
            {
                say "what there is:"
                quietly compose ps --all | sed 's/^/    /'
                say "the end of what it wrote:"
                quietly compose logs --no-color --tail 5 | sed 's/^/    /'
            } >&2 || true
        fi
    fi
    if [ -n "$is_up" ]; then quietly compose down --volumes >/dev/null 2>&1 || true; fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- small questions ----------------------------------------------------------------------------------------------

free_port() {
    local port
    for port in {8080..8199}; do
        [ -n "$(ss -Hltn "sport = :$port")" ] || { echo "$port"; return; }
    done
    die "no port from 8080 to 8199 is free; say which to take: SHOP_PORT=..."
}

# Asks the shop; its answer comes to $work/answer, headers first.
ask() { # PATH [CURL OPTION...]
    local path=$1 shown=''
    shift
    [ $# = 0 ] || shown=$(printf " '%s'" "$@")
    show "curl -i $shop$path${shown//"'-d'"/-d}"
    curl -sS -i --max-time 10 "$shop$path" "$@" | tr -d '\r' >"$work/answer"
    grep -iE '^(HTTP|X-Served-By|X-Cache)' "$work/answer"
}

header() { sed -n "s/^$1: //Ip" "$work/answer"; }

replica() { # ID FIELD
    quietly compose ps --all --format json | jq -r --arg id "$1" --arg field "$2" '.[] | select(.id == $id) | .[$field]'
}

has_new_process() { # ID OLD-PID
    local pid
    pid=$(replica "$1" pid)
    [ "$pid" != null ] && [ "$pid" != "$2" ] && [ "$(replica "$1" health)" = healthy ]
}

# A request for the products: its status and who answered, or what came instead of an answer.
buy() {
    curl -sS --max-time 10 -o /dev/null -D - "$shop/api/products" 2>&1 | tr -d '\r' |
        awk '/^(HTTP|curl:)/ { status = /^HTTP/ ? $2 : $0 } tolower($1) == "x-served-by:" { by = " " $2 }
            END { print status by }'
}

# Customers: they ask one after the other, and write down what they get.
keep_asking() {
    local customer
    for customer in {1..4}; do
        while [ -e "$work/open" ]; do
            buy
        done >"$work/asked.$customer" &
        asking+=($!)
    done
}

stop_asking() {
    rm -f "$work/open"
    [ ${#asking[@]} = 0 ] || wait "${asking[@]}" || true
    asking=()
}

answers() { cat "$work"/asked.*; }
answered() { (($(answers | wc -l) >= $1)); }
answered_by() { (($(answers | grep -c " $1\$") > $2)); } # REPLICA TIMES

# Tries to open a connection from a service; says open, or why not.
reach='import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    print("open")
except OSError as error:
    print(error.strerror or error)'
connection() { # FROM TO PORT
    show "bin/minirun compose exec $1 python3 -c '<connect>' $2 $3"
    quietly compose exec -T "$1" python3 -c "$reach" "$2" "$3" >"$work/connection"
    cat "$work/connection"
}

# The file of a container's cgroup, wherever its controller is mounted: one tree on v2, one for each on v1.
cgroup_file() { # CONTAINER FILE
    quietly inspect "$1" | jq -r '.. | strings | select(startswith("/sys/fs/cgroup"))' | while read -r directory; do
        [ ! -f "$directory/$2" ] || { echo "$directory/$2"; break; }
    done
}

# --- the demo -----------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || die "containers with a network need root: sudo make demo"
[ -x "$minirun" ] || die "there is no $minirun: make build"
stacks=$(quietly compose ls --quiet)
if grep -qx "$project" <<<"$stacks"; then
    die "there is a stack $project already; take it down first: bin/minirun compose -p $project down --volumes"
fi
footprint | sort -u >"$work/before"
SHOP_PORT=${SHOP_PORT:-$(free_port)}
export SHOP_PORT
shop=http://127.0.0.1:$SHOP_PORT

heading "Seven services in nine containers on four networks: one file, one command"
show "export COMPOSE_FILE=$COMPOSE_FILE COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME SHOP_PORT=$SHOP_PORT"
show "bin/minirun compose up --wait"
is_up=yes
began=$(date +%s%N)
quietly compose up --wait --wait-timeout 120 >"$work/up" 2>&1 || { cat "$work/up" >&2; die "the shop does not come up"; }
good "all healthy after $((($(date +%s%N) - began) / 1000000)) ms: each waited for those that it needs"
minirun compose ps

heading "Products: through nginx and the gateway, computed once, then from Redis"
for expected in miss hit; do
    ask /api/products
    tail -n 1 "$work/answer" | jq -r '.[:2][] | "  \(.id)  \(.name)"' && say "  ..."
    [ "$(header X-Cache)" = "$expected" ] || die "expected X-Cache: $expected"
done
show "for i in 1 2 3 4 5 6; do curl -i $shop/api/products; done"
for _ in {1..6}; do buy; done | tee "$work/served"
[ "$(sort "$work/served" | uniq -c | awk '{ print $1 }' | xargs)" = "2 2 2" ] || die "the replicas do not take turns"
good "a miss, a hit, and three replicas in turns"

heading "An order: stored in PostgreSQL, read back"
ask /api/orders -d '{"customer": "Ada", "items": [{"product_id": 1, "quantity": 2}]}'
tail -n 1 "$work/answer" >"$work/order"
order=$(header Location)
[ -n "$order" ] || die "no order was made: $(<"$work/order")"
ask "$order"
tail -n 1 "$work/answer"
cmp -s <(tail -n 1 "$work/answer") "$work/order" || die "that is not the order that was acknowledged: $(<"$work/order")"
good "order $order"

heading "A replica is killed while customers ask"
victim=$project-product-service-2
: >"$work/open"
keep_asking
await "customers have had 50 answers" answered 50
pid=$(replica "$victim" pid)
run kill -9 "$pid"
await "$victim runs again and is healthy" has_new_process "$victim" "$pid"
before=$(answers | grep -c " $victim\$" || true)
await "customers are served by the new $victim" answered_by "$victim" "$before"
stop_asking
minirun compose ps product-service
say "what customers got, and from whom:"
answers | sort | uniq -c
if answers | grep -v '^200 '; then die "the lines above are not answers"; fi
good "$(answers | wc -l) requests, none failed; $victim was replaced by itself"

heading "The database is restarted"
pid=$(replica "$project-postgres-db-1" pid)
show "bin/minirun compose restart postgres-db"
quietly compose restart postgres-db >"$work/restart" 2>&1 || { cat "$work/restart" >&2; die "it does not start again"; }
await "the database is healthy again" has_new_process "$project-postgres-db-1" "$pid"
ask "$order"
cmp -s <(tail -n 1 "$work/answer") "$work/order" || die "the order is not what it was: $(tail -n 1 "$work/answer")"
good "the order is still there"

heading "Who may talk to whom"
database=$(quietly inspect "$project-postgres-db-1" | jq -er '.networks[0].address')
connection order-service postgres-db 5432
[ "$(<"$work/connection")" = open ] || die "the order service should reach its database"
for target in postgres-db "$database"; do
    connection api-gateway "$target" 5432
    [ "$(<"$work/connection")" != open ] || die "the gateway should not reach the database"
done
connection order-service product-service 5000
[ "$(<"$work/connection")" != open ] || die "neighbours on one network, but no rule says that they may talk"
good "orders reach the database; the gateway knows neither its name nor a way; neighbours need a rule"

heading "Half a processor is half a processor"
hungry=$project-service-registry-1
cpu_stat=$(cgroup_file "$hungry" cpu.stat)
[ -n "$cpu_stat" ] || die "bin/minirun inspect $hungry names no cgroup with cpu.stat"
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
show "bin/minirun compose exec service-registry python3 -c '<busy on every processor for two seconds>'"
quietly compose exec -T service-registry python3 -c "$burst" | tee "$work/burst"
[ "$(grep -oE '[0-9]+%' "$work/burst" | tr -d %)" -le 60 ] || die "more than half a processor"
after=$(throttled)
if [ "$after" -gt "$before" ]; then
    good "the kernel stopped it $((after - before)) times"
else
    say "NOT SHOWN: throttling. The host is too busy to give it as much as half a processor."
fi

heading "128 MiB are 128 MiB"
show "bin/minirun compose exec service-registry python3 -c 'b\"x\" * (200 << 20)'; echo \$?"
status=0
quietly compose exec -T service-registry python3 -c 'b"x" * (200 << 20)' || status=$?
say "$status"
[ "$status" = 137 ] || die "an allocation of 200 MiB should have been killed with 137"
quietly compose exec -T service-registry wget -q -O /dev/null http://127.0.0.1:8500/health ||
    die "the registry did not survive its neighbour's greed"
good "the allocation was killed, the registry lives on"

heading "What it costs, and what it looks like"
minirun compose stats --no-stream
minirun network topology
minirun compose logs --tail 1 --no-color order-service api-gateway

heading "All gone"
show "bin/minirun compose down --volumes"
quietly compose down --volumes >"$work/down" 2>&1 || { cat "$work/down" >&2; die "the shop does not go"; }
is_up=''
# The kernel takes links away a moment after their namespaces, and netd ends by itself when nobody is left to ask.
deadline=$((SECONDS + 30))
until nothing_is_left; do
    ((SECONDS < deadline)) || { cat "$work/left"; die "the lines above are left over"; }
    sleep 0.1
done
good "no process, cgroup, mount, interface, firewall rule, lease, volume or record is left"
if [ -f /run/minirun/net/.host.json ]; then
    say "What stays on purpose: net.ipv4.ip_forward is 1 since a network needed it (/run/minirun/net/.host.json)."
fi
