#!/bin/sh
# Boots the cgroup v2 machine (qemu, software emulation, one CPU, about five seconds), runs one shell command in
# it as root, and exits with that command's status:
#
#   boot.sh [--timeout SECONDS] [--systemd yes] [--file SOURCE[:DESTINATION]]... COMMAND
#
# Each --file goes into the machine, at DESTINATION or the same path, with the shared libraries that it needs. With
# --systemd yes the machine's first process is systemd, and the command is a service of it. Kernel and systemd are
# fetched once (kernel.sh, systemd.sh); they and the machine's images live in target/vm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${CARGO_TARGET_DIR:-$here/../../target}/vm
mkdir -p "$build"
build=$(cd "$build" && pwd)
timeout=600
systemd=no

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
    cp -L "$1" "$root/$2"
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
    --file) add "${2%%:*}" "${2#*:}" ;;
    *) echo "vm: unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
[ $# -eq 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2 && exit 2; }

"$here/kernel.sh" "$build/kernel"
cp -r "$build/kernel/tree/lib/." "$root/lib/"
if [ "$systemd" = yes ]; then
    "$here/systemd.sh" "$build/systemd"
    mkdir -p "$root/etc/systemd/system"
    cp -rp "$build/systemd/tree/." "$root/"
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

# With cmpxchg16b, qemu 7.2's emulation makes the guest kernel panic at random: hence the CPU model. Where the host is
# busy the kernel would find that its timer does not tick, and panic: hence no_timer_check.
boot() {
    timeout --foreground "$timeout" qemu-system-x86_64 -accel tcg -cpu qemu64,-cx16 -smp 1 -m 1024 \
        -nodefaults -display none -no-reboot -serial stdio \
        -kernel "$build/kernel/vmlinuz" -initrd "$image/initramfs" \
        -append "console=ttyS0 rdinit=/init quiet loglevel=4 panic=-1 no_timer_check \
            systemd.show_status=no systemd.log_target=console systemd.log_level=warning" </dev/null 2>&1 ||
        [ $? -ne 124 ] || echo "vm: stopped after $timeout seconds"
}
boot | sed -u 's|\r||g' | tee "$image/console" | grep --line-buffered -v '^minirun-vm: exit' || true
status=$(sed -n 's/^minirun-vm: exit \([0-9]*\)$/\1/p' "$image/console")
if [ -z "$status" ]; then
    echo "vm: the machine ended before its command did" >&2
    exit 1
fi
exit "$status"
