#!/bin/sh
# Boots the cgroup v2 machine (qemu, software emulation, one CPU, about five seconds), runs one shell command in
# it as root, and exits with that command's status:
#
#   boot.sh [--timeout SECONDS] [--systemd yes] [--resctrl yes] [--append WORDS] [--file SOURCE[:DESTINATION]]... COMMAND
#
# Each --file goes into the machine, at DESTINATION or the same path, with the shared libraries that it needs. With
# --systemd yes the machine's first process is systemd, and the command is a service of it. With --resctrl yes its processor
# seems to have Intel RDT, and resctrl is mounted. The words of --append are for the kernel. Kernels and systemd are
# fetched once (kernel.sh, systemd.sh); they and the machine's images live in target/vm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${CARGO_TARGET_DIR:-$here/../../target}/vm
mkdir -p "$build"
build=$(cd "$build" && pwd)
timeout=600
systemd=no
resctrl=no
append=

image=$(mktemp -d "$build/boot.XXXXXX")
trap 'rm -rf "$image"' EXIT
trap 'exit 130' INT TERM
root=$image/root
# /lib is in /usr, as in systemd's packages.
mkdir -p "$root/bin" "$root/lib64" "$root/root" "$root/usr/lib"
ln -s bin "$root/sbin"
ln -s usr/lib "$root/lib"

# Copies a file and, when it is a dynamic executable, its libraries and loader.
add() {
    mkdir -p "$root/$(dirname "$2")"
    # newuidmap is its owner's.
    cp -L --preserve=mode "$1" "$root/$2"
    ldd "$1" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
        while read -r library; do
            mkdir -p "$root/$(dirname "$library")"
            cp -Lu "$library" "$root/$library"
        done
}

while [ $# -gt 1 ]; do
    case $1 in
    --timeout) timeout=$2 ;;
    --systemd) systemd=$2 ;;
    --resctrl) resctrl=$2 ;;
    --append) append=$2 ;;
    --file) add "${2%%:*}" "${2#*:}" ;;
    *) echo "vm: unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
[ $# -eq 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 && exit 2; }

# With cmpxchg16b, qemu 7.2's emulation makes the guest kernel panic at random: hence the CPU model. Where the host is
# busy the kernel would find that its timer does not tick, and panic: hence no_timer_check.
kernel=$build/kernel
suite=
processor=qemu64,-cx16
parameters=no_timer_check
if [ "$resctrl" = yes ]; then
    # The emulation knows nothing of RDT, but it answers a leaf of CPUID that is above the highest one with the highest one,
    # and takes what is written to a register that it does not know. With caches (4) for the highest leaf, the leaves of RDT
    # (0xf and 0x10) happen to tell of two classes, three bits of the L3 cache, four of the L2 cache and 64 numbers to count
    # by. That there is RDT at all the kernel has to be told (setcpuid=, since 6.15).
    kernel=$build/kernel-resctrl
    suite=trixie-backports
    processor=$processor,vendor=GenuineIntel,family=6,model=94,level=4
    parameters="$parameters setcpuid=rdt_a,cat_l3,cat_l2,cqm_llc,cqm_occup_llc,cqm_mbm_total,cqm_mbm_local"
fi
# shellcheck disable=SC2086 # no suite is no word
"$here/kernel.sh" "$kernel" $suite
cp -r "$kernel/tree/lib/." "$root/lib/"
if [ "$systemd" = yes ]; then
    "$here/systemd.sh" "$build/systemd"
    mkdir -p "$root/etc/systemd/system"
    cp -rp "$build/systemd/tree/." "$root/"
    # Programs of systemd name their loader in /lib64.
    cp -L "$root"/usr/lib/*/ld-linux-*.so.* "$root/lib64/"
    cp "$here"/units/* "$root/etc/systemd/system/"
fi
add "$(command -v busybox)" /bin/busybox
for applet in $(busybox --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
cp "$here/init" "$here/stage2" "$here/stage3" "$root/"
printf '%s\n' "$1" >"$root/command"
grep -v '^#' "$here/modules" >"$root/modules"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$image/initramfs"

boot() {
    timeout --foreground "$timeout" qemu-system-x86_64 -accel tcg -cpu "$processor" -smp 1 -m 1024 \
        -nodefaults -display none -no-reboot -serial stdio \
        -kernel "$kernel/vmlinuz" -initrd "$image/initramfs" \
        -append "console=ttyS0 rdinit=/init quiet loglevel=4 panic=-1 $parameters $append \
            systemd.show_status=no systemd.log_target=console systemd.log_level=warning" </dev/null 2>&1 ||
        [ $? -ne 124 ] || echo "vm: stopped after $timeout seconds"
}
boot | sed -u 's|\r||g' | tee "$image/console" | grep -a --line-buffered -v '^minirun-vm: exit' || true
status=$(sed -n 's/^minirun-vm: exit \([0-9]*\)$/\1/p' "$image/console")
if [ -z "$status" ]; then
    echo "vm: the machine ended before its command did" >&2
    exit 1
fi
exit "$status"
