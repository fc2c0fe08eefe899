#!/usr/bin/env bash
# Checks minirun under Podman, with Debian's packages: podman.sh [RUNTIME]
#
# As docker.sh; there is no daemon. Without a network: Podman's own is no business of the runtime.
set -euo pipefail
. "$(dirname "$0")/engine.sh"
runtime=$(realpath "${1:-${MINIRUN_BIN:-$repository/bin/minirun}}")
[ -x "$runtime" ] || die "no runtime at $runtime: run make build"
command -v podman >/dev/null || die "podman is missing: apt-get install podman (or run make test-engines)"
enter_sandbox "$runtime"

podman_with "$runtime" "$work/podman"

heading "podman with $runtime"
image_tar "$work/image.tar"
podman import "$work/image.tar" box >/dev/null 2>&1
say "$(podman --version)"
in_cgroup=(--cgroup-parent "/$parent")
box() { podman run --rm "${in_cgroup[@]}" "$@"; }

check "the engine takes the runtime" 0 "$runtime" podman info --format '{{.Host.OCIRuntime.Path}}'
check "run" 0 '^hello$' box box echo hello
check "run -t has a terminal" 0 '/dev/pts/0' box -t box tty
with_input() { echo typed | box -i box cat; }
check "run -i reads" 0 '^typed$' with_input
check "exit status" 7 '' box box sh -c 'exit 7'
check "126: the program may not be executed" 126 'permission denied' box box /data/text
check "127: no such program" 127 'executable file not found' box box no-such-program
check "user and capabilities" 0 'uid=1000.*' box --user app --cap-drop all box id
check "memory" 0 '^67108864$' box --memory 64m box sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -n 1'
check "read-only root with a tmpfs" 0 '^ok$' box --read-only --tmpfs /t box sh -c '! touch /new 2>/dev/null && touch /t/new && echo ok'
mkdir "$work/host"
echo 'from the host' >"$work/host/file"
check "a volume" 0 '^from the host$' box -v "$work/host:/mnt:ro" box cat /mnt/file

podman run -d "${in_cgroup[@]}" --name web box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done' >/dev/null
check "exec" 0 '^inside$' podman exec web echo inside
check "exec returns the exit status" 5 '' podman exec web sh -c 'exit 5'
check "exec of an unknown program" 127 'executable file not found' podman exec web no-such-program
check "exec -t has a terminal" 0 '/dev/pts/' podman exec -t web tty
check "inspect knows the state" 0 '^running$' podman inspect -f '{{.State.Status}}' web
check "top" 0 'sleep' podman top web
paused() { podman pause web >/dev/null && podman inspect -f '{{.State.Status}}' web && podman unpause web >/dev/null; }
check "pause and unpause" 0 '^paused$' paused
stopped() { podman stop web >/dev/null && podman inspect -f '{{.State.ExitCode}}' web; }
check "stop sends TERM" 0 '^3$' stopped
started() { podman start web >/dev/null && podman kill web >/dev/null && podman wait web; }
check "start again and kill" 0 '^137$' started
check "rm" 0 '' podman rm web
check "rm -f of a running container" 0 '' eval 'podman run -d --name again "${in_cgroup[@]}" box sleep 1000 >/dev/null && podman rm -f -t 0 again'

heading "pods, build, update, checkpoint"
pod() { podman pod create --infra-image box --infra-command 'sleep 1000' --cgroup-parent "/$parent" --share ipc,uts --name pair; }
check "pod create" 0 '' pod
check "a container in the pod" 0 '' podman run -d --pod pair --name one box sleep 1000
check "two containers of a pod share its host name" 0 '^pair$' podman run --rm --pod pair box hostname
check "pod ps" 0 'pair +(Running|Degraded)' podman pod ps
check "pod pause and unpause" 0 '' eval 'podman pod pause pair && podman pod unpause pair'
check "pod stop" 0 '' podman pod stop -t 0 pair
check "pod rm" 0 '' podman pod rm -f -t 0 pair

printf 'FROM localhost/box\nRUN echo built >/built\nUSER app\nCMD ["cat", "/built"]\n' >"$work/Containerfile"
check "build" 0 'COMMIT' podman build --isolation oci --runtime "$runtime" --network none --cgroup-parent "/$parent/build" -t built -f "$work/Containerfile" "$work/host"
check "run what was built" 0 '^built$' box built

podman run -d "${in_cgroup[@]}" --name life box sleep 1000 >/dev/null
if ! is_asked "update"; then
    :
elif ! podman update --help >/dev/null 2>&1; then
    skip "update" "this Podman has no such command"
elif ! has_verb update; then
    skip "update" "the runtime does not have this verb yet"
else
    check "update" 0 '' podman update --memory 96m life
fi
if ! is_asked "checkpoint"; then
    :
elif ! has_verb checkpoint; then
    skip "checkpoint and restore" "the runtime does not have these verbs yet"
elif ! criu check >/dev/null 2>&1; then
    skip "checkpoint and restore" "CRIU does not work on this host (scripts/peers.sh sid fetches a newer one): $(criu check 2>&1 | tail -n 1 | sed 's/.*: //')"
else
    check "checkpoint" 0 '' podman container checkpoint life
    check "restore" 0 '' podman container restore life
    check "a restored program goes on" 0 'sleep' podman top life
    check "checkpoint to a file" 0 '' podman container checkpoint --export "$work/life.tar" life
    check "restore from the file, as another container" 0 '' podman container restore --import "$work/life.tar" --name again
    check "it goes on" 0 'sleep' podman top again
    check "rm of both" 0 '' podman rm -f -t 0 life again
    podman run -d "${in_cgroup[@]}" --name life box sleep 1000 >/dev/null
fi
check "rm of what was left" 0 '' podman rm -f -t 0 life

heading "nothing is left"
check "containers" 0 '^$' podman ps -aq
# Podman keeps one group for all its monitors.
check "cgroups" 1 '^$' eval 'cgroups | grep -v /conmon$'
check "state" 0 '^$' find /run -name record.json
count podman
