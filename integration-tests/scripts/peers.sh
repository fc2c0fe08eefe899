#!/usr/bin/env bash
# Fetches programs that the system does not have, for the benchmarks and for the engines' checks: peers.sh PEER...
#
# sid: the newest crun, runc, CRIU and docker-compose of Debian sid, in target/peers/sid. sid-engines: its Docker, containerd and
# Podman, in target/peers/sid-engines. Each is unpacked beside its loader and libraries (aside.sh). youki: the newest of crates.io,
# built in target/peers/youki, which takes minutes. All are kept until `make clean`. debian: what setup.sh has installed.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
. "$(dirname "$0")/aside.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"
peers=$repository/target/peers

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
            runtimes=(crun runc criu docker-compose)
            [ -x "$peers/sid/bin/${runtimes[-1]}" ] || programs_aside "$peers/sid" sid "${runtimes[@]}" -- "${runtimes[@]}"
            good "Debian sid: $("$peers/sid/bin/crun" --version | head -1), $("$peers/sid/bin/runc" --version | head -1)"
            ;;
        sid-engines)
            [ -x "$peers/sid-engines/bin/dockerd" ] || programs_aside "$peers/sid-engines" sid \
                docker.io docker-cli docker-buildx docker-compose containerd podman conmon netavark aardvark-dns runc criu -- \
                dockerd docker-proxy docker-init docker docker-buildx docker-compose containerd containerd-shim-runc-v2 ctr \
                podman conmon netavark aardvark-dns runc criu
            for program in dockerd containerd podman runc; do
                good "Debian sid: $("$peers/sid-engines/bin/$program" --version | head -1)"
            done
            ;;
        youki)
            [ -x "$peers/youki/bin/youki" ] || CARGO_TARGET_DIR=$peers/youki-build logged "youki, for some minutes" \
                cargo install youki --locked --no-default-features -F v1,v2,seccomp --root "$peers/youki"
            good "$("$peers/youki/bin/youki" --version | head -1)"
            ;;
        *) die "peers.sh: unknown peer $peer (known: debian sid sid-engines youki firewalls)" ;;
    esac
done
