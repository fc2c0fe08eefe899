#!/bin/sh
# Fetches into a directory what AppArmor and SELinux take to be tried in the emulated machine, once:
#
#   labels.sh DIR        leaves DIR/apparmor_parser, and DIR/selinux.policy, which is selinux.cil for the kernel
#
# The packages are those that the host's own sources offer, unpacked and not installed: AppArmor's would load its profiles here.
set -eu
dir=$1
here=$(cd "$(dirname "$0")" && pwd)
stamp=$(cat "$here/labels.sh" "$here/selinux.cil" | sha256sum)
if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
rm -rf "$dir"
mkdir -p "$dir/unpacked"
cd "$dir"

fetch() {
    # Debian's libsepol2 has its library's number in its name.
    sepol=$(apt-cache depends secilc 2>/dev/null | sed -n 's/^ *Depends: \(libsepol[^ ]*\)$/\1/p')
    [ -n "$sepol" ] && apt-get -o APT::Sandbox::User=root -qq download apparmor secilc "$sepol"
}
echo "vm: fetching apparmor_parser and secilc" >&2
fetch || { apt-get -qq update && fetch; }
for package in ./*.deb; do
    dpkg-deb -x "$package" unpacked
done
cp unpacked/sbin/apparmor_parser . 2>/dev/null || cp unpacked/usr/sbin/apparmor_parser .

library=$(find unpacked -name 'libsepol.so.*' | head -n 1)
# Of this version every kernel understands a policy that has rules for processes without new privileges.
LD_LIBRARY_PATH=$(dirname "$library") unpacked/usr/bin/secilc -c 31 -o selinux.policy -f /dev/null "$here/selinux.cil"
rm -rf unpacked ./*.deb
echo "$stamp" >stamp
