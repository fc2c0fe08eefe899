#!/usr/bin/env bash
# Installs what a target needs and the host lacks, and says so: setup.sh GROUP...
# Groups: build rootfs test demo fuzz lint vm compare bench bench-net bench-shop engines. On Debian and Ubuntu, as root; does
# nothing when nothing is missing.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH

packages_of() {
    case $1 in
        # A C compiler as Rust's linker, and libc.a for the static binary.
        build) echo ca-certificates curl gcc libc6-dev ;;
        # Debian's keys, which Ubuntu lacks; pip for the wheels, where there is none.
        rootfs)
            echo mmdebstrap mount debian-archive-keyring ca-certificates python3
            python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
            ;;
        # runc and libseccomp are what the tests compare with, under the seccomp profile of containers-common; containers in the
        # tests consist of busybox.
        test) echo busybox-static runc golang-github-containers-common libseccomp-dev pkg-config iproute2 nftables util-linux mount procps jq strace uidmap ;;
        demo) echo curl jq iproute2 nftables procps util-linux mount ;;
        # libFuzzer is C++, and the crate brings its source.
        fuzz) echo g++ libseccomp-dev pkg-config ;;
        lint) echo libseccomp-dev pkg-config ca-certificates curl gcc libc6-dev ;;
        vm) echo qemu-system-x86 cpio binutils busybox-static xz-utils debian-archive-keyring runc nftables iproute2 util-linux ;;
        compare) echo runc time apache2-utils python3 curl jq iproute2 nftables procps util-linux mount ;;
        bench) echo runc crun time python3 util-linux mount golang-github-containers-common libseccomp-dev pkg-config ;;
        # The programs of examples/ are built with what the tests need. Contenders that this release of the system does not
        # have are left out by name.
        bench-net)
            echo libseccomp-dev pkg-config python3 util-linux mount procps iproute2 nftables iptables tar wrk iperf3
            available netavark aardvark-dns containernetworking-plugins docker.io dnsperf
            ;;
        # The shop by hand needs what people have; Docker and the engines' seccomp profile only where there are packages.
        bench-shop)
            echo apache2-utils curl jq python3 iproute2 nftables iptables util-linux mount procps
            available docker.io golang-github-containers-common
            ;;
        # Where there is an init system Debian starts Docker's own service; the checks use a daemon of theirs.
        # CRIU, Compose and what Podman's own tests need only where there are packages: the checks that need them are skipped by name.
        engines)
            echo docker.io podman containerd runc busybox-static util-linux iproute2 iptables mount tar procps
            available docker-compose criu bats jq
            ;;
        *) die "setup.sh: unknown group $1 (known: build rootfs test demo lint vm compare bench bench-net bench-shop engines fuzz)" ;;
    esac
}

# Those of the packages that the system's repositories have.
available() {
    local package updated=
    for package in "$@"; do
        if is_installed "$package" || has_candidate "$package"; then
            echo "$package"
            continue
        fi
        # The lists may never have been fetched.
        if [ -z "$updated" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            logged "package lists" apt-get update >&2
            updated=1
        fi
        if has_candidate "$package"; then echo "$package"; else say "set-up: this system has no package $package" >&2; fi
    done
}

# Reads to the end: a reader that leaves early ends apt-cache by a signal, which pipefail takes for a no.
has_candidate() { apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [0-9]' >/dev/null; }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
    local package missing=()
    if ! command -v apt-get >/dev/null; then
        say "set-up: no apt-get on this host, so nothing is installed; these Debian packages are needed: $*"
        return
    fi
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} != 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}. Run this as root, or install them yourself."
    say "set-up: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    logged "package lists" apt-get update
    logged "packages" apt-get install -y --no-install-recommends "${missing[@]}"
}

wanted_rust() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$repository/Cargo.toml"; }

has_rust() {
    local version
    version=$(cd "$repository" && cargo --version 2>/dev/null | cut -d' ' -f2) && [ -n "$version" ] &&
        printf '%s\n%s\n' "$(wanted_rust)" "$version" | sort -V -C
}

# From the distribution where it has rustup and no cargo package stands in the way; else from Rust's own installer, into
# ~/.cargo, which leaves a cargo of the distribution alone.
install_rust() {
    local installer
    has_rust && return
    say "set-up: cargo is missing or older than $(wanted_rust), the version that Cargo.toml asks for"
    if ! command -v rustup >/dev/null && ! is_installed cargo && ! is_installed rustc && [ "$(id -u)" = 0 ] &&
        has_candidate rustup; then
        install_packages rustup
    fi
    if command -v rustup >/dev/null; then
        say "set-up: taking the stable Rust toolchain through rustup, as this user's default"
        logged "Rust toolchain" rustup toolchain install stable --profile minimal -c rustfmt -c clippy
        rustup default stable >/dev/null 2>&1
    else
        say "set-up: installing Rust with https://sh.rustup.rs into ~/.cargo"
        installer=$(mktemp)
        logged "Rust installer" curl --proto '=https' --tlsv1.2 -fsS -o "$installer" https://sh.rustup.rs
        RUSTUP_INIT_SKIP_PATH_CHECK=yes logged "Rust toolchain" \
            sh "$installer" -y --no-modify-path --profile minimal -c rustfmt -c clippy
        rm -f "$installer"
    fi
    hash -r
    has_rust || die "cargo is still older than $(wanted_rust): $(cargo --version 2>&1)"
}

# A program with musl starts in half the time of one with static glibc (docs/decisions/release-build.md). A distribution's Rust,
# or a network without Rust's servers, has to do without.
add_musl() {
    local target
    target=$(uname -m)-unknown-linux-musl
    [ ! -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] && command -v rustup >/dev/null || return 0
    say "set-up: taking Rust's library for $target through rustup"
    (cd "$repository" && timeout 120 rustup target add "$target") >/dev/null 2>&1 ||
        say "set-up: it cannot be had; minirun will be linked with glibc"
}

# fmt and clippy come with rustup's components or with the distribution's packages.
install_linters() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    if command -v rustup >/dev/null; then
        logged "rustfmt and clippy" rustup component add rustfmt clippy
    else
        install_packages rustfmt rust-clippy
    fi
}

# cargo-deny checks licences and advisories. It has hundreds of crates: what three minutes did not build the next lint goes
# on with, and until then lint.sh says that it was skipped.
install_cargo_deny() {
    cargo deny --version >/dev/null 2>&1 && return
    say "set-up: building cargo-deny from crates.io, for three minutes at most"
    CARGO_TARGET_DIR=$repository/target/tools CARGO_PROFILE_DEV_DEBUG=0 logged "cargo-deny" \
        timeout 180 cargo install cargo-deny --locked --debug || say "set-up: cargo-deny is not there yet"
}

[ $# != 0 ] || die "usage: setup.sh GROUP... (build rootfs test demo lint vm compare bench bench-net bench-shop engines fuzz)"
packages=()
for group in "$@"; do
    list=$(packages_of "$group")
    read -ra more <<<"${list//$'\n'/ }"
    packages+=("${more[@]}")
done
install_packages $(printf '%s\n' "${packages[@]}" | sort -u)
for group in "$@"; do
    case $group in
        build)
            install_rust
            add_musl
            ;;
        test | vm) install_rust ;;
        lint)
            install_rust
            install_linters
            install_cargo_deny
            ;;
    esac
done
