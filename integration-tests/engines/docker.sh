#!/usr/bin/env bash
# Checks minirun under a real dockerd, with Debian's docker.io: docker.sh [RUNTIME]
#
# RUNTIME is bin/minirun unless told; `docker.sh $(command -v runc)` runs the same checks under runc, for comparison. The
# daemon has its own directories, sockets and bridge in namespaces of its own (see engine.sh) and is gone at the end.
set -euo pipefail
. "$(dirname "$0")/engine.sh"
runtime=$(realpath "${1:-${MINIRUN_BIN:-$repository/bin/minirun}}")
[ -x "$runtime" ] || die "no runtime at $runtime: run make build"
command -v dockerd >/dev/null || die "dockerd is missing: apt-get install docker.io (or run make test-engines)"
enter_sandbox "$runtime"

# BuildKit knows no runtimes: it runs what is called runc in PATH. This one says that it was asked, in a file.
mkdir -p "$work/runc-is" "$work/runc"
ln -s "$runtime" "$work/runc/runc"
printf '#!/bin/sh\necho "$*" >>%s/buildkit-calls\nexec %s/runc/runc "$@"\n' "$work" "$work" >"$work/runc-is/runc"
chmod +x "$work/runc-is/runc"

# With --userns-remap the daemon asks these files, which are of this mount namespace alone.
for file in subuid subgid; do
    printf '%s:500000:65536\n' nobody nogroup >"$work/$file"
    [ ! -e "/etc/$file" ] || mount --bind "$work/$file" "/etc/$file"
done

start_dockerd() { # [LINE-OF-CONFIGURATION]
    cat >"$work/daemon.json" <<JSON
{
  ${1:-}
  "runtimes": {"tested": {"path": "$runtime"}, "replaced": {"path": "$work/replaced"}},
  "default-runtime": "tested",
  "data-root": "$work/data",
  "exec-root": "$work/exec",
  "pidfile": "$work/docker.pid",
  "hosts": ["unix://$work/docker.sock"],
  "cgroup-parent": "/$parent",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "storage-driver": "${STORAGE_DRIVER:-vfs}",
  "bip": "10.213.0.1/24",
  "iptables": false,
  "ip6tables": false,
  "ip-masq": false,
  "default-shm-size": "16M",
  "live-restore": true
}
JSON
    PATH=$work/runc-is:$PATH dockerd --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 </dev/null &
    wait_for "dockerd" docker version || { tail -n 20 "$work/dockerd.log"; die "dockerd does not start"; }
}

docker_client
heading "docker with $runtime"
start_dockerd
image_tar "$work/image.tar"
docker import "$work/image.tar" box >/dev/null
say "client and server: $(docker version --format '{{.Client.Version}}, {{.Server.Version}}')"

# A container that runs until it is told to stop.
sleeper() { # NAME [OPTION...]
    local name=$1
    shift
    docker run -d --name "$name" "$@" box \
        sh -c 'trap "echo term; exit 3" TERM; trap "echo usr1" USR1; while :; do sleep 0.1; done' >/dev/null
}
field() { docker inspect -f "{{$2}}" "$1"; }
is() { [ "$(field "$1" "$2")" = "$3" ]; }
logs_say() { docker logs "$1" 2>&1 | grep -q "$2"; }

heading "run"
check "the daemon knows the runtime" 0 '^tested$' docker info --format '{{.DefaultRuntime}}'
check "run prints" 0 '^hello$' docker run --rm box echo hello
check "run hands both streams through" 0 '^err$' docker run --rm box sh -c 'echo out; echo err >&2'
with_input() { echo typed | docker run --rm -i box cat; }
check "run -i reads" 0 '^typed$' with_input
check "run -it has a terminal" 0 '/dev/pts/0$' on_terminal docker run --rm -it box tty
check "run -it returns the exit status" 9 '' on_terminal "docker run --rm -it box sh -c 'exit 9'"
check "run -it has the size of the caller's terminal" 0 '31 97$' \
    on_terminal "stty rows 31 cols 97; docker run --rm -it box sh -c 'until stty size | grep \"31 97\"; do sleep 0.1; done'"
leave() {
    { wait_for "its start" is left .State.Status running && printf '\020\021'; } | on_terminal docker run -it --name left box sh
    is left .State.Status running && docker rm -f left
}
check "ctrl-p ctrl-q leaves it running" 0 'left$' leave
detached() { docker run -d --name "$1" box echo written && docker wait "$1" && docker logs "$1"; }
check "run -d, wait, logs" 0 '^written$' detached logged
check "exit status of the program" 7 '' docker run --rm box sh -c 'exit 7'
check "exit status of a killed program" 137 '' docker run --rm --init box sh -c 'kill -9 $$'
check "125: the daemon refuses" 125 'Minimum memory' docker run --rm --memory 1 box true
check "126: the program may not be executed" 126 'permission denied' docker run --rm box /data/text
check "126: the program is a directory" 126 'is a directory|permission denied' docker run --rm box /data
check "127: no such program in PATH" 127 'executable file not found in \$PATH' docker run --rm box no-such-program
check "127: no such path" 127 'no such file or directory' docker run --rm box /no/such/program
check "directory, environment, host name" 0 '^/data value named$' \
    docker run --rm -w /data -e NAME=value -h named box sh -c 'echo $(pwd) $NAME $(hostname)'
check "a working directory that is a file" 12[567] 'not a directory' docker run --rm -w /data/text box true
together() {
    local pids=() pid
    for number in 1 2 3 4; do docker run --rm box echo "number $number" & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid" || return; done
}
check "four at once" 0 'number 4' together

heading "users and privileges"
check "--user by number" 0 'uid=1000.*gid=1000' docker run --rm --user 1000:1000 box id
check "--user by name" 0 'uid=1000\(app\)' docker run --rm --user app box id
check "--group-add" 0 'groups=.*4321' docker run --rm --user app --group-add 4321 box id
check "default capabilities" 0 'CapEff:.00000000a80425fb' docker run --rm box grep CapEff /proc/self/status
check "nothing is inheritable" 0 'CapInh:.0000000000000000' docker run --rm box grep CapInh /proc/self/status
check "--cap-drop ALL" 0 'CapBnd:.0000000000000000' docker run --rm --cap-drop ALL box grep CapBnd /proc/self/status
check "--cap-add NET_ADMIN" 0 'CapEff:.00000000a80435fb' docker run --rm --cap-add NET_ADMIN box grep CapEff /proc/self/status
check "no-new-privileges" 0 'NoNewPrivs:.1' \
    docker run --rm --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
check "the default seccomp profile" 0 'Seccomp:.2' docker run --rm box grep Seccomp: /proc/self/status
check "the default profile denies unshare" 1 'not permitted' docker run --rm box unshare -U true
check "seccomp=unconfined" 0 'Seccomp:.0' \
    docker run --rm --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status
cat >"$work/profile.json" <<'JSON'
{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
 "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
JSON
check "seccomp=FILE" 1 'No space left' docker run --rm --security-opt "seccomp=$work/profile.json" box mkdir /new
check "--privileged has every capability of the host" 0 'CapEff:.00000[0-9a-f]{3}f[ef]ffffff$' docker run --rm --privileged box grep CapEff /proc/self/status
check "--privileged sees the host's devices" 0 '^kmsg$' docker run --rm --privileged box ls /dev
check "--device gives a device" 0 '' docker run --rm --cap-add SYSLOG --device /dev/kmsg:/dev/messages:r box \
    dd if=/dev/messages bs=8192 count=1 of=/dev/null
check "--device r does not give w" 1 'not permitted' \
    docker run --rm --device /dev/kmsg:/dev/kmsg:r box sh -c 'echo x >/dev/kmsg'
check "a device node of one's own is denied" 1 'not permitted' \
    docker run --rm box sh -c 'mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg'
check "--ulimit" 0 '^77$' docker run --rm --ulimit nofile=77:77 box sh -c 'ulimit -n'
check "--oom-score-adj" 0 '^321$' docker run --rm --oom-score-adj 321 box cat /proc/self/oom_score_adj
check "--sysctl" 0 '^1234$' docker run --rm --sysctl net.core.somaxconn=1234 box cat /proc/sys/net/core/somaxconn
check "masked and read-only paths" 0 '^0$' docker run --rm box sh -c 'cat /proc/kcore /proc/keys | wc -c; ! echo x 2>/dev/null >/proc/sys/kernel/domainname'
check "--init reaps as process 1" 0 'docker-init' docker run --rm --init box sh -c "tr '\\0' ' ' </proc/1/cmdline"

heading "files"
check "--read-only" 1 'Read-only file system' docker run --rm --read-only box touch /new
check "--tmpfs" 0 'tmpfs.* 1024 ' docker run --rm --read-only --tmpfs /t:size=1m box df -P /t
mkdir -p "$work/host"
mount --bind "$work/host" "$work/host"
mount --make-shared "$work/host"
echo 'from the host' >"$work/host/file"
check "-v" 0 '^from the host$' docker run --rm -v "$work/host:/mnt" box sh -c 'cat /mnt/file; echo back >/mnt/answer'
check "-v writes to the host" 0 '^back$' cat "$work/host/answer"
check "-v ro" 1 'Read-only file system' docker run --rm -v "$work/host:/mnt:ro" box touch /mnt/new
check "-v of a file" 0 '^from the host$' docker run --rm -v "$work/host/file:/data/bound" box cat /data/bound
check "a named volume holds what the image had" 0 '^from the image$' docker run --rm -v kept:/data box cat /data/file
check "--mount bind-propagation" 0 ' master:' docker run --rm \
    --mount "type=bind,src=$work/host,dst=/mnt,bind-propagation=rslave" box grep ' /mnt ' /proc/self/mountinfo
check "--shm-size" 0 ' 2048 ' docker run --rm --shm-size 2m box df -P /dev/shm
check "cp out of a container" 0 '^from the image$' eval 'docker create --name copied box true >/dev/null; docker cp copied:/data/file - | tar -xO'

check "--cgroup-parent" 0 "/$parent/deeper/[0-9a-f]{64}\$" docker run --rm --cgroupns host --cgroup-parent "/$parent/deeper" box cat /proc/self/cgroup

heading "namespaces and networks"
check "a host name per container" 0 '^[0-9a-f]{12}$' docker run --rm box hostname
check "--pid host" 0 '^dockerd$' docker run --rm --pid host box sh -c 'cat /proc/[0-9]*/comm 2>/dev/null; true'
check "--network none" 0 '^ *lo: ' docker run --rm --network none box grep lo: /proc/net/dev
check "--network host" 0 'docker0' docker run --rm --network host box cat /proc/net/dev
check "--uts host" 0 "^$(hostname)\$" docker run --rm --uts host box hostname
check "--ipc host" 0 '' docker run --rm --ipc host box true
shared_ipc() {
    docker run -d --name shares --ipc shareable box sh -c 'echo shared >/dev/shm/file; exec sleep 1000' >/dev/null &&
        docker run --rm --ipc container:shares box sh -c 'until cat /dev/shm/file; do sleep 0.1; done' && docker rm -f shares
}
check "--ipc container:" 0 '^shared$' shared_ipc
check "--sysctl of the host's network is refused" 125 'not allowed' docker run --rm --network host --sysctl net.core.somaxconn=10 box true
check "--cgroupns private" 0 '^[0-9]+:[a-z]+.*:/$' docker run --rm --cgroupns private box cat /proc/self/cgroup
check "/etc/hosts names the container" 0 'named' docker run --rm -h named box cat /etc/hosts
check "resolv.conf is --dns" 0 '192\.0\.2\.1' docker run --rm --dns 192.0.2.1 box cat /etc/resolv.conf
serve() {
    docker run -d --name web -p 127.0.0.1:0:8000 box httpd -f -p 8000 -h /data >/dev/null &&
        wait_for "the web server" busybox wget -qO- "http://$(docker port web 8000)/file" &&
        busybox wget -qO- "http://$(docker port web 8000)/file"
}
check "a published port" 0 '^from the image$' serve
check "--network container:" 0 '^from the image$' docker run --rm --network container:web box wget -qO- http://127.0.0.1:8000/file
check "--pid container:" 0 'httpd' docker run --rm --pid container:web box ps
check "two containers on the bridge" 0 '^from the image$' \
    docker run --rm box wget -qO- "http://$(field web .NetworkSettings.IPAddress):8000/file"

heading "limits"
memory_file=/sys/fs/cgroup/memory/memory.limit_in_bytes quota='cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us' pids=/sys/fs/cgroup/pids/pids.max
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    memory_file=/sys/fs/cgroup/memory.max quota='cut -d" " -f1 /sys/fs/cgroup/cpu.max' pids=/sys/fs/cgroup/pids.max
fi
check "--memory" 0 '^67108864$' docker run --rm --memory 64m box cat "$memory_file"
check "--cpus" 0 '^50000$' docker run --rm --cpus 0.5 box sh -c "$quota"
check "--pids-limit" 0 '^20$' docker run --rm --pids-limit 20 box cat "$pids"
check "--pids-limit holds" 2 "can't fork" docker run --rm --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6; do sleep 1 & done; wait'
check "--cpuset-cpus" 0 'Cpus_allowed_list:.0$' docker run --rm --cpuset-cpus 0 box grep Cpus_allowed_list /proc/self/status
check "a program over its memory is killed" 137 '' docker run --name eater --memory 32m --memory-swap 32m box tail -c 100000000 /dev/zero
check "... and the engine says why" 0 '^true$' field eater .State.OOMKilled

heading "exec"
sleeper work -e NAME=value --memory 64m
check "exec" 0 '^value$' docker exec work sh -c 'echo $NAME'
check "exec returns the exit status" 5 '' docker exec work sh -c 'exit 5'
check "exec -it has a terminal" 0 '/dev/pts/[0-9]+$' on_terminal docker exec -it work tty
exec_input() { echo typed | docker exec -i work cat; }
check "exec -i reads" 0 '^typed$' exec_input
exec_detached() { docker exec -d work touch /tmp/made && wait_for "the file" docker exec work test -e /tmp/made; }
check "exec -d" 0 '' exec_detached
check "exec --user --workdir --env" 0 'uid=1000.* /data more' docker exec -u app -w /data -e MORE=more work sh -c 'echo $(id) $(pwd) $MORE'
check "exec of an unknown program" 12[67] 'executable file not found in \$PATH' docker exec work no-such-program
check "exec of a file that is no program" 126 'permission denied' docker exec work /data/text
check "exec --privileged" 0 'CapEff:.00000[0-9a-f]{3}f[ef]ffffff$' docker exec --privileged work grep CapEff /proc/self/status
check "exec has the container's filter" 0 'Seccomp:.2' docker exec work grep Seccomp: /proc/self/status
check "exec counts in the container's cgroup" 0 "$parent|^0::/\$" docker exec work cat /proc/self/cgroup
check "cp into it" 0 '^from the host$' eval 'docker cp "$work/host/file" work:/tmp/copied && docker exec work cat /tmp/copied'
check "commit" 0 '^from the host$' eval 'docker commit work committed >/dev/null && docker run --rm committed cat /tmp/copied'
check "rename" 0 '^value$' eval 'docker rename work other && docker exec other sh -c "echo \$NAME" && docker rename other work'
check "top" 0 'sleep 0.1' docker top work
check "stats" 0 'work .*/ 64MiB' docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' work
check "pause" 0 '^paused$' eval 'docker pause work >/dev/null; field work .State.Status'
check "exec into a paused container" 1 'is paused' docker exec work true
check "unpause" 0 '^running$' eval 'docker unpause work >/dev/null; field work .State.Status'
check "attach shows the output" 0 'usr1' eval '(sleep 1; docker kill -s USR1 work >/dev/null; sleep 1; docker kill -s TERM work >/dev/null) & docker attach work; wait'
if has_verb update; then
    check "update" 0 '^100663296$' eval 'docker start work >/dev/null; docker update --memory 96m --memory-swap 96m work >/dev/null; docker exec work cat '"$memory_file"
else
    skip "update" "the runtime does not have this verb yet"
fi

heading "life"
sleeper life
signalled() { docker kill -s USR1 life >/dev/null && wait_for "usr1" logs_say life usr1; }
check "kill -s USR1" 0 '' signalled
check "stop sends TERM" 0 '^3$' eval 'docker stop life >/dev/null; field life .State.ExitCode'
check "start again" 0 '^running$' eval 'docker start life >/dev/null; field life .State.Status'
check "restart" 0 '^running$' eval 'docker restart life >/dev/null; field life .State.Status'
check "kill" 0 '^137$' eval 'docker kill life >/dev/null; docker wait life'
check "events tell its life" 0 '^create start kill .*die .*stop .*start' eval \
    'docker events --since 0 --until "$(date +%s)" --filter container=life --format "{{.Action}}" | grep -oE "^(create|start|stop|kill|die)" | tr "\n" " "'
docker run -d --name asked --stop-signal USR2 box sh -c 'trap "exit 4" USR2; while :; do sleep 0.1; done' >/dev/null
check "--stop-signal" 0 '^4$' eval 'docker stop asked >/dev/null; field asked .State.ExitCode'
docker run -d --name deaf box sh -c 'trap "" TERM; while :; do sleep 0.1; done' >/dev/null
check "stop kills what does not listen" 0 '^137$' eval 'docker stop -t 1 deaf >/dev/null; field deaf .State.ExitCode'
docker run -d --name stubborn --restart on-failure:2 box false >/dev/null
gave_up() { [ "$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' stubborn)" = '2 exited' ]; }
check "--restart on-failure:2" 0 '' wait_for "two restarts" gave_up
sleeper healthy --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 2
sick_then_well() {
    wait_for "unhealthy" is healthy .State.Health.Status unhealthy && docker exec healthy touch /tmp/well &&
        wait_for "healthy" is healthy .State.Health.Status healthy
}
check "health check" 0 '' sick_then_well
printf 'FROM box\nRUN echo built >/built\nUSER app\nCMD ["cat", "/built"]\n' >"$work/Dockerfile"
check "build" 0 'Successfully built' env DOCKER_BUILDKIT=0 docker build -t built -f "$work/Dockerfile" "$work/host"
check "run what was built" 0 '^built$' docker run --rm built
buildkit() { : >"$work/buildkit-calls" && DOCKER_BUILDKIT=1 docker build --progress plain --no-cache -t kit -f "$work/Dockerfile" "$work/host" && cat "$work/buildkit-calls"; }
check "build through BuildKit, whose runc this runtime is" 0 '(^| )run --bundle' buildkit
check "run what BuildKit built" 0 '^built$' docker run --rm kit
check "rm -f of a running container" 0 '' eval 'docker rm -f life healthy web && ! docker inspect web'

heading "compose"
if ! is_asked "compose up of two services"; then
    :
elif command -v docker-compose >/dev/null; then
    mkdir "$work/two"
    cat >"$work/two/docker-compose.yml" <<'YAML'
version: "2.4" # which older ones ask for
services:
  web:
    image: box
    command: httpd -f -p 8000 -h /data
    mem_limit: 64m
  asker:
    image: box
    depends_on: [web]
    command: sh -c 'until wget -qO- http://web:8000/file; do sleep 0.2; done; exec sleep 1000'
YAML
    compose() { (cd "$work/two" && DOCKER_HOST=unix://$work/docker.sock docker-compose "$@"); }
    compose_answers() { compose logs asker | grep -q 'from the image'; }
    check "compose up of two services" 0 'two_asker_1 +\.\.\. done|Creating two_asker_1|two-asker-1 +Started' compose up -d
    check "one service finds the other by name" 0 '' wait_for "an answer" compose_answers
    check "compose exec" 0 '^from the image' compose exec -T asker wget -qO- http://web:8000/file
    check "compose down" 0 'Removing two_web_1|two-web-1 +Removed' compose down -t 0
else
    skip "compose up of two services" "docker-compose is not installed"
fi

heading "a daemon that is killed, a binary that is replaced"
if is_asked "the container of a killed daemon runs on"; then
    cp "$runtime" "$work/replaced"
    sleeper outlives --runtime replaced
    process=$(field outlives .State.Pid) daemon=$(cat "$work/docker.pid")
    kill -KILL "$daemon"
    wait "$daemon" || true
    check "the container of a killed daemon runs on" 0 '' kill -0 "$process"
    cp "$runtime" "$work/replaced.new"
    mv "$work/replaced.new" "$work/replaced"
    start_dockerd
    check "the next daemon finds it" 0 "^$process\$" field outlives .State.Pid
    check "a binary that replaced the one that made it executes in it" 0 '^inside$' docker exec outlives echo inside
    check "... freezes it" 0 '' eval 'docker pause outlives && docker unpause outlives'
    check "... and stops it" 0 '^3$' eval 'docker stop outlives >/dev/null; field outlives .State.ExitCode'
    sleeper orphan
    without_shim() {
        pkill -KILL -f "containerd-shim.*$(field orphan .Id)" && wait_for "its end" is orphan .State.Status exited && docker rm orphan
    }
    check "a container whose shim is killed is taken away" 0 '^orphan$' without_shim
fi

heading "nothing is left"
docker ps -aq | xargs -r docker rm -f >/dev/null
check "containers" 0 '^$' docker ps -aq
# BuildKit keeps the group above its containers.
check "cgroups" 1 '^$' eval 'cgroups | grep -v /buildkit$'
check "state" 0 '^$' find "$work/exec" /run -name record.json -o -name state.json
check "mounts" 1 '^$' grep -E "$work/(exec|data/(vfs|overlay2)/.*)/.*(merged|rootfs|shm|mounts)" /proc/self/mountinfo
kill "$(cat "$work/docker.pid")"
wait

heading "--userns-remap"
if ! is_asked "root of a container is nobody outside"; then
    :
elif [ -e /etc/subuid ] && [ -e /etc/subgid ]; then
    start_dockerd '"userns-remap": "nobody:nogroup",'
    docker import "$work/image.tar" box >/dev/null
    check "root of a container is nobody outside" 0 '^ *0 +500000 +65536$' docker run --rm box cat /proc/self/uid_map
    check "exec in a user namespace" 0 'uid=0' eval 'docker run -d --name mapped box sleep 1000 >/dev/null && docker exec mapped id'
    check "... and a published host directory keeps its owner" 0 '^65534$' docker run --rm -v "$work/host:/mnt" box stat -c %u /mnt
    check "an ordinary user in a user namespace" 0 'uid=1000\(app\)' docker run --rm --user app box id
    check "--memory in a user namespace" 0 '^67108864$' docker run --rm --memory 64m box cat "$memory_file"
    check "rm -f in a user namespace" 0 '' docker rm -f mapped
    kill "$(cat "$work/docker.pid")"
    wait
else
    skip "root of a container is nobody outside" "the host has no /etc/subuid and /etc/subgid"
fi
count docker
