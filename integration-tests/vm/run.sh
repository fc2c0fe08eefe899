#!/bin/sh
# `make test-vm`: scenarios and the unit tests of control groups, in the cgroup v2 machine, whose kernel has AppArmor; then
# those of systemd's driver and of SELinux, in a second machine whose first process is systemd and whose kernel has SELinux;
# and those of resctrl, in a third one whose processor has RDT.
#
#   run.sh [FILTER...]        runs the scenarios whose names contain one of the filters; without one, those of the
#                             file `smoke`, which is what differs from cgroup v1; with ALL=1 in the environment, all.
#                             With SYSTEMD=1 or RESCTRL=1 the filters are for the machine with systemd, or with RDT
#
# MINIRUN_BIN is the runtime (default bin/minirun). MINIRUN_TEST_BIN, the scenarios, and MINIRUN_UNIT_TEST_BIN, the unit
# tests, are built here unless given.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
runtime=${MINIRUN_BIN:-bin/minirun}
[ -x "$runtime" ] || { echo "vm: no runtime at $runtime: make build" >&2 && exit 1; }

# All programs without their symbols: the machine keeps its files in memory, and a debug build is large.
stripped=$(mktemp -d)
trap 'rm -rf "$stripped"' EXIT
trap 'exit 130' INT TERM
if [ -z "${MINIRUN_TEST_BIN:-}" ] || [ -z "${MINIRUN_UNIT_TEST_BIN:-}" ]; then
    cargo test --lib --test scenarios --no-run --message-format=json >"$stripped/built"
fi
program() {
    given=$1
    built=$(sed -n "s|.*\"executable\":\"\([^\"]*/$2-[^\"]*\)\".*|\1|p" "$stripped/built" 2>/dev/null | tail -n 1)
    strip -o "$stripped/$2" "${given:-$built}" || { echo "vm: no test program $2" >&2 && exit 1; }
}
strip -o "$stripped/runtime" "$runtime"
program "${MINIRUN_TEST_BIN:-}" scenarios
program "${MINIRUN_UNIT_TEST_BIN:-}" minirun

if [ $# -gt 0 ]; then
    scenarios=$*
elif [ "${ALL:-}" = 1 ]; then
    scenarios=
else
    scenarios=$(grep -v '^#' "$here/smoke" | tr '\n' ' ')
    echo "vm: the scenarios that matter most on cgroup v2; ALL=1 runs all of them"
fi

# Where the machine finds more of the world, more scenarios run; what is missing they skip by name.
options=
for program in runc nft ip setpriv unshare newuidmap newgidmap; do
    found=$(command -v "$program" || true)
    [ -z "$found" ] || options="$options --file $found:/usr/sbin/$program"
done
# Here, because both machines need it, and begin at once.
fetched=$(mkdir -p "${CARGO_TARGET_DIR:-target}/vm" && cd "${CARGO_TARGET_DIR:-target}/vm" && pwd)
for what in kernel systemd labels; do
    "$here/$what.sh" "$fetched/$what"
done
labels=$fetched/labels
options="$options --file $labels/apparmor_parser:/usr/sbin/apparmor_parser"
profile=/usr/share/containers/seccomp.json
[ ! -e $profile ] || options="$options --file $profile"
machine() {
    # shellcheck disable=SC2086 # the options are words, the paths of a build tree have no blanks
    "$here/boot.sh" --timeout "${MINIRUN_VM_TIMEOUT:-1800}" $options \
        --file "$stripped/runtime:/usr/bin/minirun" --file "$stripped/scenarios:/usr/bin/scenarios" "$@"
}
# One thread: the machine has one processor. runc 1.1 hands on its own limit of open files, which Go raises to the hard one:
# where both are one, its containers have what ours have.
command="ulimit -S -n \$(ulimit -H -n)
    export MINIRUN_BIN=/usr/bin/minirun MINIRUN_CRASH_ROUNDS=${MINIRUN_CRASH_ROUNDS:-15}
    scenarios --test-threads=1"

# There nothing may be skipped for want of systemd or of a policy.
second_machine() {
    machine --systemd yes --append security=selinux --file "$labels/selinux.policy:/usr/share/selinux.policy" \
        "[ -d /run/systemd/system ] && [ -e /sys/fs/cgroup/cgroup.controllers ] || exit 1
        cat /usr/share/selinux.policy >/sys/fs/selinux/load && echo 1 >/sys/fs/selinux/enforce || exit 1
        $command $*"
}

# Nor here for want of resctrl.
third_machine() {
    machine --resctrl yes "[ -e /sys/fs/resctrl/schemata ] || exit 1
        $command $*"
}

if [ $# -gt 0 ]; then
    case ${SYSTEMD:-}${RESCTRL:+R} in
    1) second_machine "$@" ;;
    R) third_machine "$@" ;;
    *) machine "$command $*" ;;
    esac
    exit
fi
# Beside each other: a machine keeps one processor busy. Both run to their ends even when something failed.
failed=0
{
    others=0
    second_machine systemd:: selinux:: || others=1
    third_machine resctrl:: || others=1
    exit $others
} >"$stripped/others" 2>&1 &
# At last as a host whose kernel has less.
machine --file "$stripped/minirun:/usr/bin/unit-tests" "$command $scenarios
    failed=\$?
    unit-tests --test-threads=1 cgroup::tests || failed=1
    rm -r /lib/modules
    rmmod udp_diag tcp_diag inet_diag nf_conntrack_netlink
    MINIRUN_WITHOUT_MODULES=1 scenarios --test-threads=1 a_kernel_that_lists_no_connections || failed=1
    exit \$failed" || failed=1
wait $! || failed=1
echo "vm: the machine with systemd and SELinux, and the one with RDT"
cat "$stripped/others"
exit $failed
