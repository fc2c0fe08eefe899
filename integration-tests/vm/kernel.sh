#!/bin/sh
# Fetches the kernel of the cgroup v2 machine into a directory, once:
#
#   kernel.sh DIR [SUITE]        leaves DIR/vmlinuz and DIR/tree/lib/modules (those of the file `modules`, and what they need)
#
# The kernel is Debian's cloud kernel, unpacked and not installed: that of the suite (bookworm-backports, 6.12, unless given);
# where bookworm-backports cannot be had, what the host's own package sources offer.
set -eu
dir=$1
suite=${2:-bookworm-backports}
here=$(cd "$(dirname "$0")" && pwd)
modules=$(grep -v '^#' "$here/modules")
stamp=$( (cat "$here/kernel.sh" "$here/modules" && echo "$suite") | sha256sum)

if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
rm -rf "$dir"
mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"

# A package list of our own, so that the host's sources stay as they are.
cat >"$dir/sources.list" <<EOF
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main
EOF
of_suite="-o Dir::Etc::sourcelist=$dir/sources.list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$dir/lists -o Dir::Cache=$dir/cache -o APT::Sandbox::User=root"

# The meta package names the real one.
kernel_package() {
    apt-cache "$@" depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p'
}

fetch() {
    package=$(kernel_package "$@")
    [ -n "$package" ] || return 1
    # Newer ones come in parts.
    parts=$(apt-cache "$@" depends "$package" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-\(base\|binary\|modules\)-[0-9].*\)/\1/p')
    echo "vm: fetching $package" >&2
    # shellcheck disable=SC2086 # the parts are words
    (cd "$dir" && apt-get "$@" -qq download "$package" $parts)
}

# shellcheck disable=SC2086 # the options are words
if ! { apt-get $of_suite -qq update && fetch $of_suite; }; then
    echo "vm: no kernel from $suite" >&2
    [ "$suite" = bookworm-backports ] || exit 1
    echo "vm: trying the host's package sources" >&2
    fetch -o APT::Sandbox::User=root
fi

for package in "$dir"/linux-*.deb; do
    dpkg-deb -x "$package" "$dir/unpacked"
done
base=$dir/unpacked
[ -d "$base/lib/modules" ] || base=$dir/unpacked/usr
release=$(basename "$base"/lib/modules/*)
all=$base/lib/modules/$release
image=$dir/unpacked/boot/vmlinuz-$release
[ -e "$image" ] || image=$all/vmlinuz
cp "$image" "$dir/vmlinuz"
used=$dir/tree/lib/modules/$release

# busybox's modprobe wants uncompressed modules and a modules.dep.
find "$all" -name '*.ko.xz' -exec xz -d {} +
busybox depmod -b "$base" "$release"
mkdir -p "$used"
for module in $modules; do
    # A line of modules.dep: the module's path, a colon, the paths of all that it needs.
    line=$(grep "/$module\.ko:" "$all/modules.dep" || true)
    if [ -z "$line" ] && ! grep -q "/$module\.ko" "$all/modules.builtin"; then
        echo "vm: this kernel has no module $module" >&2
    fi
    for file in $(echo "$line" | tr -d ':'); do
        mkdir -p "$used/$(dirname "$file")"
        cp "$all/$file" "$used/$file"
    done
done
cp "$all/modules.builtin" "$all/modules.order" "$used/"
busybox depmod -b "$dir/tree" "$release"
rm -rf "$dir/unpacked" "$dir/lists" "$dir/cache" "$dir"/linux-*.deb
echo "$stamp" >"$dir/stamp"
