# What the engines' checks share: a host of one's own, an image, and one line a check. Sourced, not run.
#
# Everything runs in new pid, mount and network namespaces with an empty /run: when the script ends, whatever way, the
# kernel ends every process, mount, link and rule that it made. Cgroups belong to the machine; they are below one parent
# of our own, which is counted and removed at the end.

set -o allexport
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/narrate.sh"

# The engines are those of the system's packages, or what peers.sh has unpacked beside them: first in PATH, before what else
# a host has under their names.
ENGINES=${ENGINES:-system}
unpacked=$repository/target/peers/$ENGINES-engines/bin
case $ENGINES in
    system) PATH=/usr/sbin:/usr/bin:$PATH ;;
    sid)
        [ -x "$unpacked/dockerd" ] || die "no engines of Debian $ENGINES: run make test-engines ENGINES=$ENGINES"
        PATH=$unpacked:$PATH
        ;;
    *) die "unknown engines $ENGINES (known: system, sid)" ;;
esac

# Starts the script again in namespaces of its own; returns there.
enter_sandbox() { # ARGUMENT...
    [ "$(id -u)" = 0 ] || die "engines need root"
    if [ -z "${MINIRUN_ENGINE_SANDBOX:-}" ]; then
        export MINIRUN_ENGINE_SANDBOX=1
        # Not exec: the cgroups are removed when the last process has gone.
        export parent=minirun-engine-$$ work=/tmp/minirun-engine-$$
        local status=0
        mkdir "$work"
        trap 'remove_cgroups; rm -rf "$work"' EXIT
        # In the background, so that a signal reaches this shell while the checks run.
        unshare --pid --fork --kill-child --mount-proc --mount --net --propagation private "$BASH" "$0" "$@" &
        trap "kill -KILL $!; wait; exit 130" INT TERM
        wait $! || status=$?
        exit "$status"
    fi
    mount -t tmpfs -o mode=0755 tmpfs /run
    mount -t tmpfs -o mode=0755 tmpfs /var/lib/minirun 2>/dev/null || true
    mkdir -p /run/lock
    ip link set lo up
}

cgroups() { find /sys/fs/cgroup -depth -type d -path "*/$parent/*" 2>/dev/null || true; }

remove_cgroups() {
    find /sys/fs/cgroup -depth -type d \( -name "$parent" -o -path "*/$parent/*" \) -exec rmdir {} + 2>/dev/null || true
}

# A busybox root filesystem with two users, as the directory $work/image.
image_directory() {
    local root=$work/image busybox
    busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
    mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,var/log,data}
    "$busybox" --list | while read -r applet; do ln -sf busybox "$root/bin/$applet"; done
    # The list names busybox itself.
    cp --remove-destination "$busybox" "$root/bin/busybox"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'app:x:1000:1000:app:/tmp:/bin/sh' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'app:x:1000:' >"$root/etc/group"
    echo 'from the image' >"$root/data/file"
    echo 'not a program' >"$root/data/text"
    chmod 1777 "$root/tmp"
}

# The same as a tar file.
image_tar() { # FILE
    image_directory
    tar -C "$work/image" -cf "$1" .
}

# The program docker, first in PATH, of a daemon at $work/docker.sock.
docker_client() {
    mkdir -p "$work/bin" "$work/client"
    # Builds and Compose are programs of their own in newer versions.
    echo "{\"cliPluginsExtraDirs\": [\"$unpacked\"]}" >"$work/client/config.json"
    printf '#!/bin/sh\nexec %s --config %s/client -H unix://%s/docker.sock "$@"\n' "$(command -v docker)" "$work" "$work" >"$work/bin/docker"
    chmod +x "$work/bin/docker"
    PATH=$work/bin:$PATH
}

# Podman with this runtime and files of its own: the program DIRECTORY/bin/podman, first in PATH.
podman_with() { # RUNTIME DIRECTORY
    local runtime=$1 own=$2 beside= newer
    [ ! -x "$unpacked/conmon" ] || beside="conmon_path = [\"$unpacked/conmon\"]
helper_binaries_dir = [\"$unpacked\"]"
    mkdir -p "$own/bin" "$own/root"
    # Limits that a host without CAP_SYS_RESOURCE can give.
    cat >"$own/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
cgroupns = "private"
netns = "none"
[engine]
events_logger = "file"
runtime = "tested"
cgroup_manager = "cgroupfs"
runtime_supports_json = ["crun", "runc", "tested"]
$beside
[engine.runtimes]
tested = ["$runtime"]
CONF
    cat >"$own/bin/podman" <<CLIENT
#!/bin/sh
export CONTAINERS_CONF=$own/containers.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
exec $(command -v podman) --root $own/root --runroot /run/podman-${own##*/} --tmpdir /run/podman-${own##*/}-tmp --storage-driver vfs "\$@"
CLIENT
    chmod +x "$own/bin/podman"
    # A CRIU that may know a kernel that the system's does not, where peers.sh has fetched it.
    for newer in "$repository"/target/peers/sid*/bin/criu; do
        [ ! -x "$newer" ] || ln -sf "$newer" "$own/bin/criu"
    done
    PATH=$own/bin:$PATH
}

# Whether the runtime has a verb, so that checks of what it lacks are skipped by name.
has_verb() { "$runtime" "$1" --help >/dev/null 2>&1; }

passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); good "$1"; }
fail() { # NAME [LINE...]
    failed=$((failed + 1))
    bad "$1"
    shift
    printf '    %s\n' "$@" >&2
}
skip() {
    skipped=$((skipped + 1))
    say "- SKIPPED $1: $2"
    [ -z "${MINIRUN_ENGINE_SUMMARY:-}" ] || echo "  skipped $1: $2" >>"$MINIRUN_ENGINE_SUMMARY"
}

# Whether a check was asked for: QUICK=1 takes those of quick.txt alone.
quick=$(dirname "${BASH_SOURCE[0]}")/quick.txt engine=$(basename "$0" .sh)
is_asked() { # NAME
    [ -z "${QUICK:-}" ] || grep -qxF "$engine: $1" "$quick"
}

# Runs a command and compares its exit status (a pattern of the shell) and its output (both streams) with an extended regular expression.
check() { # NAME STATUS PATTERN COMMAND...
    local name=$1 status=$2 pattern=$3 output got=0
    is_asked "$name" || return 0
    shift 3
    output=$(in_time "$@" 2>&1 </dev/null) || got=$?
    output=${output//$'\r'/}
    if [[ $got = $status ]] && grep -qE -- "$pattern" <<<"$output"; then
        pass "$name"
    else
        fail "$name" "command: $*" "status $got, expected $status; expected /$pattern/ in:" "${output:0:2000}"
    fi
}

# A command may be a function of the script, which timeout(1) could not start: they are all exported.
# What hangs is ended; a busy machine takes a minute for what takes a second.
in_time() { timeout -k 5 180 bash -c '"$@"' in_time "$@"; }

# Waits for what sends no event, 150 s: a check has 180.
wait_for() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + 150))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -gt $deadline ]; then
            echo "waited 150 s for $what"
            return 1
        fi
        sleep 0.1
    done
}

# Runs a command line on a terminal of its own.
on_terminal() { script -qec "$*" /dev/null; }

count() { # ENGINE
    local line="$1 with ${runtime##*/}: $passed passed, $failed failed, $skipped skipped"
    say ""
    say "$line"
    [ -z "${MINIRUN_ENGINE_SUMMARY:-}" ] || echo "$line" >>"$MINIRUN_ENGINE_SUMMARY"
    [ "$failed" = 0 ]
}
