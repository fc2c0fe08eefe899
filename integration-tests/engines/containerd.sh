#!/usr/bin/env bash
# Checks minirun under containerd alone, through its client ctr, with Debian's package: containerd.sh [RUNTIME]
#
# As docker.sh. containerd has its own directories and socket, and no plug-in for Kubernetes.
set -euo pipefail
. "$(dirname "$0")/engine.sh"
runtime=$(realpath "${1:-${MINIRUN_BIN:-$repository/bin/minirun}}")
[ -x "$runtime" ] || die "no runtime at $runtime: run make build"
command -v containerd >/dev/null && command -v ctr >/dev/null || die "containerd is missing: apt-get install containerd (or run make test-engines)"
enter_sandbox "$runtime"

cat >"$work/containerd.toml" <<TOML
version = 2
root = "$work/root"
state = "/run/containerd-tested"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/containerd.sock"
TOML
containerd --config "$work/containerd.toml" >"$work/containerd.log" 2>&1 </dev/null &
daemon=$!
mkdir "$work/bin"
printf '#!/bin/sh\nexec %s --address %s "$@"\n' "$(command -v ctr)" "$work/containerd.sock" >"$work/bin/ctr"
chmod +x "$work/bin/ctr"
PATH=$work/bin:$PATH

heading "containerd with $runtime"
wait_for "containerd" ctr version || { tail -n 20 "$work/containerd.log"; die "containerd does not start"; }
say "$(containerd --version)"
image_directory

# A container of our own root filesystem, in our cgroup: OPTION... -- ID COMMAND... Without an image ctr sets no PATH.
box() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    ctr run --runc-binary "$runtime" --cgroup "/$parent/$1" --env PATH=/bin "${options[@]}" --rootfs "$work/image" "$@"
}
# The same with a program that stays for a moment: of one that ends before ctr has opened its pipes, ctr shows nothing.
said() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    local id=$2
    shift 2
    box --rm "${options[@]}" -- "$id" sh -c '"$@"; status=$?; sleep 0.5; exit $status' said "$@"
}
sleeper() { box --detach -- "$1" sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'; }

check "run" 0 '^hello$' said -- one echo hello
check "exit status" 7 '' said -- two sh -c 'exit 7'
check "run --tty" 0 '/dev/pts/0' on_terminal "ctr run --rm --tty --runc-binary $runtime --cgroup /$parent/three --env PATH=/bin --rootfs $work/image three tty"
check "no such program" 1 'executable file not found in \$PATH' box --rm -- four no-such-program
check "a container that failed is not left" 0 '' box --rm -- four true
check "environment and directory" 0 'value /data' said --env NAME=value --cwd /data -- five sh -c 'echo $NAME $(pwd)'
check "a read-only root" 1 'Read-only file system' said --read-only -- six touch /new
echo 'from the host' >"$work/file"
check "a bind mount" 0 '^from the host$' said --mount "type=bind,src=$work,dst=/data,options=rbind:ro" -- seven cat /data/file
limited() { box --detach --memory-limit 67108864 -- eight sleep 1000 && cat /sys/fs/cgroup/{memory/,}"$parent"/eight/memory.{limit_in_bytes,max} 2>/dev/null; ctr tasks delete --force eight; }
check "a memory limit" "*" '^67108864$' limited
check "a seccomp profile" 0 'Seccomp:.2' said --seccomp -- nine grep Seccomp: /proc/self/status
check "--privileged" 0 'CapEff:.00000[0-9a-f]{3}f[ef]ffffff$' said --privileged -- ten grep CapEff /proc/self/status
check "the host's network" 0 'lo:' said --net-host -- eleven cat /proc/net/dev

sleeper work
check "the task runs" 0 'work +[0-9]+ +RUNNING' ctr tasks list
check "exec" 0 '^inside$' ctr tasks exec --exec-id a work echo inside
check "exec returns the exit status" 5 '' ctr tasks exec --exec-id b work sh -c 'exit 5'
check "exec --tty" 0 '/dev/pts/' on_terminal "ctr tasks exec --tty --exec-id c work tty"
check "exec of an unknown program" 1 'executable file not found in \$PATH' ctr tasks exec --exec-id d work no-such-program
check "ps" 0 '^[0-9]+' ctr tasks ps work
check "metrics" 0 'work' ctr tasks metrics work
paused() { ctr tasks pause work && ctr tasks list && ctr tasks resume work; }
check "pause and resume" 0 'work +[0-9]+ +PAUSED' paused
check "... and it runs again" 0 'work +[0-9]+ +RUNNING' ctr tasks list
stopped() { ctr tasks kill --signal TERM work && wait_for "the end" eval 'ctr tasks list | grep -q "work.*STOPPED"' && ctr tasks delete work; }
check "kill --signal TERM, delete" 0 'exit code 3' stopped
check "the container is removed" 0 '' ctr containers delete work
sleeper forced
check "delete --force of a running task" "*" '' eval 'ctr tasks delete --force forced; ctr containers delete forced'

heading "nothing is left"
check "tasks" 0 '^TASK +PID +STATUS *$' ctr tasks list
check "cgroups" 0 '^$' cgroups
check "state" 0 '^$' find /run "$work" -name record.json
kill "$daemon"
wait
count containerd
