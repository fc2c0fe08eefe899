#!/usr/bin/env bash
# Builds the root filesystems of the recipes beside this script: ./build.sh [--force] [NAME...]
#
# A recipe is a directory NAME/ with a recipe.sh that sets `packages` (Debian packages for the first stage, may be
# empty) and defines `assemble`, which fills the second stage. Only the second stage is kept, in build/NAME/rootfs.
# It is rebuilt when anything in NAME/ or in this script changes, and moved into place only when it is complete.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/build
suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() { echo "rootfs: $*" >&2; exit 1; }

# --- first stage: everything, as the packages have it -------------------------------------------------------------

# Where the suite comes from, in sources.list form: the mirror that the host's own apt uses for it, else, when the host
# runs another suite or distribution, Debian's.
sources() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(SIGNED_BY)' \
        'Identifier: Packages' 'Origin: Debian' 'Component: main' 2>/dev/null |
        sort -u | while IFS='|' read -r uri release signed_by; do
            case $release in "$suite" | "$suite-updates" | "$suite-security") ;; *) continue ;; esac
            [ -f "$signed_by" ] || signed_by=$keyring
            echo "deb [signed-by=$signed_by] $uri $release main"
        done)
    if grep -q " $suite main" <<<"$found"; then
        echo "$found"
    else
        echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main"
        echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite-updates main"
        echo "deb [signed-by=$keyring] http://deb.debian.org/debian-security $suite-security main"
    fi
}

# The host's proxy and download settings: mmdebstrap's apt reads its own configuration, not the host's.
host_apt_options() { apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries)' || true; }

# Unpacks packages and what they depend on, and a static busybox to work with. No maintainer script runs, so no perl,
# debconf or adduser has to work.
debian_packages() { # STAGE PACKAGE...
    local stage=$1
    shift
    command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: apt-get install mmdebstrap (or run make rootfs)"
    [ "$(id -u)" = 0 ] || die "unpacking Debian packages needs root"
    [ -f "$keyring" ] || die "Debian's keys are missing: apt-get install debian-archive-keyring (or run make rootfs)"
    host_apt_options >"$stage.apt.conf"
    # The suite is merged-/usr: the four links have to be there before the first package is unpacked.
    mmdebstrap --quiet --variant=extract --mode=root --skip=chroot/mount --aptopt="$stage.apt.conf" \
        --include="$(IFS=,; echo "$*,busybox-static")" \
        --setup-hook='cd "$1" && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 &&
                      ln -s usr/bin usr/sbin usr/lib usr/lib64 .' \
        "$suite" "$stage" "$(sources)"
    rm -f "$stage.apt.conf"
}

# --- second stage: only what runs ---------------------------------------------------------------------------------

# What a runtime needs on a root that it mounts read-only: every mount point, and files to bind names and resolvers over.
skeleton() {
    mkdir -p "$root"/{dev,etc,home/app,proc,root,run,sys,tmp,var/tmp,usr/bin,usr/sbin,usr/lib,usr/lib64}
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
    ln -s /run "$root/var/run"
    chmod 1777 "$root/tmp" "$root/var/tmp"
    chmod 0700 "$root/root"
    : >"$root/etc/hosts"
    : >"$root/etc/hostname"
    : >"$root/etc/resolv.conf"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    echo 'multi on' >"$root/etc/host.conf" # all addresses that /etc/hosts has for a name, not the first alone
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' \
        'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'tty:x:5:' 'nogroup:x:65534:' >"$root/etc/group"
    add_user app 1000 /home/app
    [ "$(id -u)" != 0 ] || chown 1000:1000 "$root/home/app"
}

add_user() { # NAME ID HOME
    echo "$1:x:$2:$2:$1:$3:/bin/sh" >>"$root/etc/passwd"
    echo "$1:x:$2:" >>"$root/etc/group"
}

# Copies files or trees of the first stage, as they are.
keep() { (cd "$stage" && cp -a --parents -t "$root" "${@#/}"); }

# Copies every shared library that the programs and modules of the second stage load, as the first stage's own dynamic
# linker finds them; objects that programs open by name at run time are given as arguments.
keep_libraries() { # [OBJECT...]
    local linker object library
    linker=$(cd "$stage" && find usr/lib64/ usr/lib/ -maxdepth 1 -name 'ld-linux-*.so.*' | head -n1)
    { find "$root" -type f \( -perm -u+x -o -name '*.so' -o -name '*.so.*' \) -printf '/%P\n'; printf '%s\n' "$@"; } |
        while read -r object; do
            case $object in '') continue ;; *.so | *.so.*) echo "$object" ;; esac
            chroot "$stage" "/$linker" --list "$object" 2>/dev/null | grep -oE '/[^ ]+' || true
        done | sort -u | while read -r library; do
            # Looked up inside the stage: the path may be an absolute link, which out here would lead to the host's own.
            [ -e "$root$library" ] || install -D -m 0755 \
                "$stage$(chroot "$stage" /usr/bin/busybox realpath "$library")" "$root$library"
        done
}

# A link for every applet whose name no real program has taken. Static, so it runs on the host as well.
busybox_links() {
    local applet
    "$root/usr/bin/busybox" --list | while read -r applet; do
        [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
    done
}

# --- one root filesystem ------------------------------------------------------------------------------------------

# What the result depends on: the recipe, this script, the architecture.
fingerprint() { # NAME
    (cd "$here" && { uname -m; find build.sh "$1" -type f | sort | xargs sha256sum; } | sha256sum | cut -d' ' -f1)
}

size_of() { du -sm --apparent-size "$1" | cut -f1; }

build() (
    name=$1 work=$out/.$1.partial root=$out/.$1.partial/rootfs stage=$out/.$1.partial/stage recipe=$here/$1
    packages=()
    . "$recipe/recipe.sh"
    want=$(fingerprint "$name")
    if [ "$force" = 0 ] && [ "$(cat "$out/$name/fingerprint" 2>/dev/null)" = "$want" ]; then
        echo "rootfs $name: up to date, $(size_of "$out/$name/rootfs") MB"
        exit 0
    fi
    echo "rootfs $name: building${packages[*]:+ from ${packages[*]}}"
    rm -rf "$work"
    trap '[ $? = 0 ] || echo "rootfs $name: failed" >&2; rm -rf "$work"' EXIT
    mkdir -p "$root" "$stage"
    [ ${#packages[@]} = 0 ] || debian_packages "$stage" "${packages[@]}"
    skeleton
    assemble
    rm -rf "$stage"
    echo "$want" >"$work/fingerprint"
    # Renamed into place: a build that is interrupted never leaves a part of a result under its name.
    rm -rf "$out/.$name.old"
    [ ! -e "$out/$name" ] || mv "$out/$name" "$out/.$name.old"
    mv "$work" "$out/$name"
    rm -rf "$out/.$name.old"
    echo "rootfs $name: built in ${SECONDS} s, $(size_of "$out/$name/rootfs") MB in $out/$name/rootfs"
)

force=0
names=()
for argument in "$@"; do
    case $argument in
        --force) force=1 ;;
        -*) die "unknown option $argument (usage: build.sh [--force] [NAME...])" ;;
        *)
            [ -f "$here/$argument/recipe.sh" ] || die "no recipe $here/$argument/recipe.sh"
            names+=("$argument")
            ;;
    esac
done
if [ ${#names[@]} = 0 ]; then
    for recipe in "$here"/*/recipe.sh; do names+=("$(basename "$(dirname "$recipe")")"); done
fi

umask 022
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9 # a second build waits for the first and then finds its result
for name in "${names[@]}"; do
    SECONDS=0
    build "$name"
done
