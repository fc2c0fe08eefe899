#!/bin/sh
# Fetches systemd for the emulated machine into a directory, once:
#
#   systemd.sh DIR       leaves DIR/tree/usr/lib with systemd and the libraries that it and systemctl need, DIR/tree/usr/bin/systemctl
#
# The packages are those that the host's own sources offer, unpacked and not installed.
set -eu
dir=$1
stamp=$(sha256sum <"$0")
if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
rm -rf "$dir"
mkdir -p "$dir/cache/archives/partial" "$dir/unpacked/usr/lib" "$dir/tree/usr/bin" "$dir/tree/usr/lib"
dir=$(cd "$dir" && pwd)

# For apt nothing is installed, so that it fetches all that systemd depends on.
: >"$dir/status"
fetch() {
    apt-get -o "Dir::State::status=$dir/status" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root \
        -o Debug::NoLocking=1 -qq --download-only --no-install-recommends -y install systemd >/dev/null
}
echo "vm: fetching systemd" >&2
fetch || { apt-get -qq update && fetch; }

# Everything below /usr, as the packages of newer releases have it.
ln -s usr/lib "$dir/unpacked/lib"
for package in "$dir"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir/unpacked" --keep-directory-symlink
done

loader=$(find "$dir/unpacked/usr" -name 'ld-linux*.so.*' -type f | head -n 1)
libraries=$(dirname "$loader")
[ -n "$loader" ] || { echo "vm: the packages of systemd hold no loader" >&2 && exit 1; }
cd "$dir/unpacked"
for program in usr/lib/systemd/systemd usr/lib/systemd/systemd-executor bin/systemctl usr/bin/systemctl; do
    [ -f "$program" ] || continue
    # bin/ where /usr is not merged yet
    into=$dir/tree/usr/${program#usr/}
    mkdir -p "$(dirname "$into")"
    cp -p "$program" "$into"
    "$loader" --library-path "$libraries:$libraries/systemd" --list "$program" >"$dir/needed"
    sed -n "s|.*=> $dir/unpacked/\(usr/[^ ]*\) .*|\1|p" "$dir/needed" | while read -r library; do
        mkdir -p "$dir/tree/$(dirname "$library")"
        cp -Lp "$library" "$dir/tree/$library"
    done
done
[ -f "$dir/tree/usr/lib/systemd/systemd" ] || { echo "vm: the package has no systemd" >&2 && exit 1; }
cd "$dir"
rm -rf unpacked cache status needed
echo "$stamp" >stamp
