#!/usr/bin/env bash
# Checks minirun's networks beside other people's firewalls, the real ones: firewalls.sh [RUNTIME [FIREWALL]]
#
# firewalld with a D-Bus of its own, ufw, and the iptables of old, each on a host of its own: network namespace, /run, and what
# packages keep in /usr, /etc and /var laid over the system's. Where a firewall is not installed it is fetched and unpacked, never
# installed: Debian would start its service on the host. Either containers get out, reach each other and are reached through
# published ports, or minirun has said what stops them and which commands help; then these are run.
set -euo pipefail
. "$(dirname "$0")/engine.sh"
runtime=$(realpath "${1:-${MINIRUN_BIN:-$repository/bin/minirun}}")
[ -x "$runtime" ] || die "no runtime at $runtime: run make build"
if [ $# -lt 2 ]; then
    failures=0
    for firewall in firewalld ufw iptables-legacy; do
        "$0" "$runtime" "$firewall" || failures=1
    done
    exit $failures
fi
firewall=$2
unpacked=$repository/target/peers/firewalls
[ -n "${MINIRUN_ENGINE_SANDBOX:-}" ] || "$repository/integration-tests/scripts/peers.sh" firewalls || true
enter_sandbox "$@"
heading "beside $firewall with $runtime"

# The unpacked packages over the system's directories; what is written goes to memory.
lay_over() {
    local directory
    mount -t tmpfs tmpfs /mnt
    for directory in usr etc var; do
        mkdir -p /mnt/$directory/{upper,work,packages}
        [ ! -d "$unpacked/root/$directory" ] || mount --bind "$unpacked/root/$directory" /mnt/$directory/packages
        mount -t overlay overlay -o "lowerdir=/mnt/$directory/packages:/$directory,upperdir=/mnt/$directory/upper,workdir=/mnt/$directory/work" /$directory
    done
    mount -t tmpfs -o mode=0755 tmpfs /var/lib/minirun 2>/dev/null || { mkdir -p /var/lib/minirun; mount -t tmpfs -o mode=0755 tmpfs /var/lib/minirun; }
}
lay_over

# The world outside, 192.0.2.2, with a web server; the host is 192.0.2.1 there.
image_directory
unshare --net sleep 1000 &
world=$!
outside() { nsenter -t "$world" -n "$@"; }
until [ "$(readlink /proc/$world/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add uplink type veth peer name eth0 netns "$world"
ip address add 192.0.2.1/24 dev uplink
ip link set uplink up
ip route add default via 192.0.2.2
outside ip address add 192.0.2.2/24 dev eth0
outside ip link set eth0 up
outside ip link set lo up
outside busybox httpd -p 8000 -h "$work/image/data"
# Or minirun would have to say that it sets this.
sysctl -q -w net.ipv4.ip_forward=1
# Of the host's own, to see that the firewall stands.
busybox httpd -p 9000 -h "$work/image/data"

bundle() { # NAME COMMAND...
    local directory=$work/$1 arguments
    arguments=$(printf ', "%s"' "${@:2}")
    mkdir -p "$directory"
    cat >"$directory/config.json" <<JSON
{
  "ociVersion": "1.0.2",
  "root": {"path": "$work/image"},
  "process": {"cwd": "/", "args": [${arguments#, }], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
  "linux": {"cgroupsPath": "/$parent/$1", "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}]}
}
JSON
}
bundle web httpd -f -p 8000 -h /data
bundle client sleep 1000
start() { # NAME OPTION...
    "$runtime" run -d -b "$work/$1" --network default "${@:2}" "$1" >"$work/$1.out" 2>"$work/$1.err" || { cat "$work/$1.err"; return 1; }
}
stop() { "$runtime" delete -f "$1"; }

fetch() { timeout 5 busybox wget -qO- "http://$1/file"; }
address() { "$runtime" network inspect default | grep -oE '"address": "[0-9.]+"' | head -n 1 | grep -oE '[0-9.]+'; }
from_client() { "$runtime" exec client timeout 5 wget -qO- "http://$1/file"; }
# Every way that a network has, named when it is closed.
ways() {
    local closed=()
    from_client 192.0.2.2:8000 >/dev/null 2>&1 || closed+=("a container to the outside")
    from_client web:8000 >/dev/null 2>&1 || from_client "$web:8000" >/dev/null 2>&1 || closed+=("a container to its neighbour")
    outside timeout 5 busybox wget -qO- http://192.0.2.1:8080/file >/dev/null 2>&1 || closed+=("the outside to a published port")
    fetch 127.0.0.1:8080 >/dev/null 2>&1 || closed+=("the host to a published port")
    from_client 192.0.2.1:8080 >/dev/null 2>&1 || closed+=("a container to a port that its neighbour publishes")
    [ ${#closed[@]} = 0 ] || { printf 'closed: %s\n' "${closed[@]}"; return 1; }
}
stands() { ! outside timeout 3 busybox wget -qO- http://192.0.2.1:9000/file; }
# What minirun said would help.
advised() { grep -o '`[^`]*`' "$work/web.err" | tr -d '`' | sort -u; }
says() { grep -h "$1" "$work/web.err"; }
bring_up() {
    start web --publish 8080:8000 && start client
    web=$(address)
}
take_down() { stop client; stop web; }

# The firewall as it comes, with nothing opened for containers. Each says how it is started, and whether it is there.
case $firewall in
    firewalld)
        programs="firewalld firewall-cmd dbus-daemon"
        raise() {
            # As its package does when it is installed.
            local actions=/usr/share/polkit-1/actions/org.fedoraproject.FirewallD1
            [ -e $actions.policy ] || ln -s ${actions##*/}.server.policy.choice $actions.policy
            mkdir -p /run/dbus
            dbus-daemon --config-file=/usr/share/dbus-1/system.conf --fork --nopidfile
            start_firewalld
        }
        start_firewalld() {
            /usr/sbin/firewalld --nofork --nopid >"$work/firewalld.log" 2>&1 </dev/null &
            daemon=$!
            wait_for firewalld firewall-cmd --state
        }
        ;;
    ufw)
        programs="ufw iptables"
        raise() {
            # As its package does when it is installed.
            cp -n /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
            ufw --force enable
        }
        ;;
    iptables-legacy)
        programs=iptables-legacy
        raise() {
            iptables-legacy -P FORWARD DROP
            iptables-legacy -A INPUT -i uplink -p tcp --dport 9000 -j DROP
        }
        ;;
    *) die "firewalls.sh: unknown firewall $firewall (known: firewalld ufw iptables-legacy)" ;;
esac
for program in $programs; do
    if ! command -v "$program" >/dev/null; then
        skip "$firewall" "there is no program $program, and its package could not be fetched"
        count "$firewall"
        exit
    fi
done
outside timeout 3 busybox wget -qO- http://192.0.2.1:9000/file >/dev/null || die "the outside does not reach the host even without a firewall"
if ! raise >"$work/raise.log" 2>&1; then
    skip "$firewall" "it does not start here: $(tail -n 1 "$work/raise.log")"
    count "$firewall"
    exit
fi
check "$firewall keeps the outside from the host" 0 '' stands
bring_up
case $firewall in
    firewalld)
        trusted() { firewall-cmd --zone=trusted --list-interfaces; }
        check "minirun has nothing to say" 0 '^$' cat "$work/web.err"
        check "the bridge is in the zone trusted" 0 minirun0 trusted
        check "all ways are open" 0 '' ways
        again() {
            check "it has forgotten the bridge after a $1" 0 '^$' trusted
            check "reconcile enters it again" 0 'entered its bridge' "$runtime" network reconcile
            check "all ways are open then" 0 '' ways
            check "a second reconcile has nothing to do" 0 '^$' "$runtime" network reconcile
        }
        firewall-cmd --reload >/dev/null
        again reload
        kill "$daemon"
        wait "$daemon" || true
        start_firewalld
        again restart
        ;;
    *)
        check "minirun says what stops containers" 0 'drop.*forwarded packets' cat "$work/web.err"
        check "something is closed, as it said" 1 closed ways
        mapfile -t commands < <(advised)
        for line in "${commands[@]}"; do
            check "what it advises can be done: $line" 0 '' bash -c "$line"
        done
        check "all ways are open then" 0 '' ways
        ;;
esac
check "the firewall still keeps the outside from the host" 0 '' stands
take_down
if [ "$firewall" = firewalld ]; then
    check "the bridge has left the zone with its network" 0 '^$' trusted
fi
count "$firewall"
