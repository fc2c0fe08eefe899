#!/usr/bin/env bash
# Checks minirun under Docker's Swarm, with Debian's docker.io: swarm.sh [RUNTIME]
#
# As docker.sh. One node with an address on an interface of its own, and a service of three replicas on an overlay. Addresses of
# tasks by DNS (dnsrr): virtual ones need IPVS, which is the kernel's and the engine's business and not the runtime's.
set -euo pipefail
. "$(dirname "$0")/engine.sh"
runtime=$(realpath "${1:-${MINIRUN_BIN:-$repository/bin/minirun}}")
[ -x "$runtime" ] || die "no runtime at $runtime: run make build"
command -v dockerd >/dev/null || die "dockerd is missing: apt-get install docker.io (or run make test-engines)"
enter_sandbox "$runtime"
heading "swarm with $runtime"

if ! ip link add probe type vxlan id 4000 dstport 4789 2>/dev/null; then
    skip "a service of three replicas" "the kernel has no vxlan"
    count swarm
    exit
fi
ip link delete probe
ip link add node type veth peer name beyond
ip address add 10.214.0.1/24 dev node
ip link set node up
ip link set beyond up
ip route add default dev node

cat >"$work/daemon.json" <<JSON
{
  "runtimes": {"tested": {"path": "$runtime"}},
  "default-runtime": "tested",
  "data-root": "$work/data",
  "exec-root": "$work/exec",
  "pidfile": "$work/docker.pid",
  "hosts": ["unix://$work/docker.sock"],
  "cgroup-parent": "/$parent",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "storage-driver": "${STORAGE_DRIVER:-vfs}",
  "bip": "10.213.0.1/24"
}
JSON
dockerd --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 </dev/null &
docker_client
wait_for "dockerd" docker version || { tail -n 20 "$work/dockerd.log"; die "dockerd does not start"; }
image_tar "$work/image.tar"
docker import "$work/image.tar" box >/dev/null

running() { docker service ps --filter desired-state=running --format '{{.CurrentState}}' "$1" | grep -c ^Running; }
runs() { [ "$(running "$1")" = "$2" ]; }
three() { docker service create --detach --no-resolve-image --name web --replicas 3 --network tier --endpoint-mode dnsrr \
    box httpd -f -p 8000 -h /data && wait_for "three replicas" runs web 3; }
addresses() { docker exec asker nslookup tasks.web 2>/dev/null | grep -oE '10\.215\.0\.[0-9]+' | sort -u | wc -l; }
three_addresses() { [ "$(addresses)" = 3 ]; }
# The engine notices the end of a task by itself and starts another, which is a container of another name.
replaced() {
    local victim
    victim=$(docker ps -q --filter label=com.docker.swarm.service.name=web | head -n 1)
    docker kill "$victim" >/dev/null
    another() { runs web 3 && ! docker ps -q --filter label=com.docker.swarm.service.name=web | grep -q "$victim"; }
    wait_for "a replacement" another
}

check "a swarm of one node" 0 'is now a manager' docker swarm init --advertise-addr 10.214.0.1 --listen-addr 10.214.0.1:2377
check "an overlay" 0 '' docker network create --driver overlay --attachable --subnet 10.215.0.0/24 tier
check "a service of three replicas" 0 '' three
check "... which the tested runtime runs" 0 '^tested$' eval 'docker inspect -f "{{.HostConfig.Runtime}}" $(docker ps -q --filter label=com.docker.swarm.service.name=web) | sort -u'
docker run -d --name asker --network tier box sleep 1000 >/dev/null
check "its name leads to three addresses" 0 '' wait_for "three addresses" three_addresses
check "a container on the overlay reaches it by name" 0 '^from the image$' docker exec asker wget -qO- http://tasks.web:8000/file
check "one that is killed is replaced" 0 '' replaced
check "scaled to one" 0 '' eval 'docker service scale --detach web=1 >/dev/null && wait_for "one replica" runs web 1'
no_tasks() { [ -z "$(docker ps -q --filter label=com.docker.swarm.service.name=web)" ]; }
check "the service is removed" 0 '' eval 'docker service rm web >/dev/null && wait_for "no tasks" no_tasks'
docker rm -f asker >/dev/null
check "the node leaves" 0 'left the swarm' docker swarm leave --force

heading "nothing is left"
docker ps -aq | xargs -r docker rm -f >/dev/null
check "cgroups" 0 '^$' cgroups
check "state" 0 '^$' find "$work/exec" /run -name record.json -o -name state.json
kill "$(cat "$work/docker.pid")"
wait
count swarm
