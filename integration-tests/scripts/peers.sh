#!/usr/bin/env bash
# Fetches programs that the system does not have, for benchmarks and checks: peers.sh [debian|sid|youki|firewalls]...
#
# sid: the newest crun, runc and docker-compose of Debian sid, unpacked in target/peers/sid beside their loader and libraries and
# pointed at those, so that they run on an older system without a process more. youki: the newest of crates.io, built in
# target/peers/youki, which takes minutes. Both are kept until `make clean`. debian: what setup.sh has installed.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"
peers=$repository/target/peers
programs=(crun runc criu docker-compose)

# A package manager of its own: nothing of the system's lists, settings of packages or installed packages is looked at, so
# that all that the two depend on is fetched, and nothing is installed.
fetch_from_sid() {
    local state=$peers/apt mirror keys
    command -v patchelf >/dev/null || logged "patchelf" apt-get install -y --no-install-recommends patchelf
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' 'Component: main' |
        grep -v security | sort -u | head -1)
    keys=$(find /usr/share/keyrings -name 'debian-archive-keyring.[gp]*' | sort | head -1)
    mkdir -p "$state"/{lists/partial,cache/archives/partial}
    : >"$state/status"
    echo "deb ${keys:+[signed-by=$keys]} ${mirror:-http://deb.debian.org/debian/} sid main" >"$state/sources.list"
    local options=(
        -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State=$state"
        -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root
        # A mirror that keeps an earlier state of sid has a Release file that has expired; its signature still holds.
        -o Acquire::Check-Valid-Until=false
    )
    logged "Debian sid's package lists" apt-get "${options[@]}" update
    logged "crun, runc, docker-compose and their libraries" \
        apt-get "${options[@]}" install -y --download-only --no-install-recommends "${programs[@]}"
}

unpack_sid() {
    local package new=$peers/sid.new program loader libraries
    rm -rf "$new"
    mkdir -p "$new/root" "$new/bin"
    for package in "$peers"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$new/root"
    done
    libraries=$(dirname "$(find "$new/root" -name 'libc.so.6' | head -1)")
    loader=$(find "$new/root" -name 'ld-linux*.so.*' | head -1)
    libraries=${libraries/"$new"/"$peers/sid"}
    loader=${loader/"$new"/"$peers/sid"}
    for program in "${programs[@]}"; do
        cp "$(find "$new/root/usr" -name "$program" -type f -perm -1 | head -1)" "$new/bin/$program"
        # A static one needs neither.
        if patchelf --print-interpreter "$new/bin/$program" >/dev/null 2>&1; then
            patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$new/bin/$program"
        fi
    done
    rm -rf "$peers/sid"
    mv "$new" "$peers/sid"
}

# Firewalls whose packages start a service where they are installed: unpacked only, in target/peers/firewalls/root.
fetch_firewalls() {
    local package new=$peers/firewalls.new packages=(firewalld python3-firewall python3-nftables gir1.2-nm-1.0 libnm0 ufw)
    for package in dbus-daemon python3-dbus python3-gi gir1.2-glib-2.0 iptables; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || packages+=("$package")
    done
    rm -rf "$new"
    mkdir -p "$new/root"
    (cd "$new" && logged "${packages[*]}" apt-get download "${packages[@]}" -o APT::Sandbox::User=root)
    for package in "$new"/*.deb; do
        dpkg-deb -x "$package" "$new/root"
    done
    # Into /usr, where /lib leads since it is one with it.
    if [ -d "$new/root/lib" ]; then
        cp -a "$new/root/lib" "$new/root/usr/"
        rm -r "$new/root/lib"
    fi
    rm -rf "$peers/firewalls"
    mv "$new" "$peers/firewalls"
}

for peer in "$@"; do
    case $peer in
        firewalls) [ -d "$peers/firewalls" ] || fetch_firewalls ;;
        debian) ;;
        sid)
            if [ ! -x "$peers/sid/bin/${programs[-1]}" ]; then
                fetch_from_sid
                unpack_sid
            fi
            good "Debian sid: $("$peers/sid/bin/crun" --version | head -1), $("$peers/sid/bin/runc" --version | head -1)"
            ;;
        youki)
            [ -x "$peers/youki/bin/youki" ] || CARGO_TARGET_DIR=$peers/youki-build logged "youki, for some minutes" \
                cargo install youki --locked --no-default-features -F v1,v2,seccomp --root "$peers/youki"
            good "$("$peers/youki/bin/youki" --version | head -1)"
            ;;
        *) die "peers.sh: unknown peer $peer (known: debian sid youki firewalls)" ;;
    esac
done
