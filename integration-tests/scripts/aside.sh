# Debian's packages beside the system's: sourced after narrate.sh, not run.
#
# A package manager with lists, settings and files of its own: nothing of the system's installed packages is looked at, so
# that all that a package depends on comes with it, and nothing is installed.

# Fetches the lists of a release; `aside` are then the options of apt-get for it.
lists_aside() { # STATE deb|deb-src RELEASE
    local state=$1 kind=$2 release=$3 mirror keys
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' 'Component: main' |
        grep -v security | sort -u | head -1)
    keys=$(find /usr/share/keyrings -name 'debian-archive-keyring.[gp]*' | sort | head -1)
    rm -rf "$state"
    mkdir -p "$state"/{lists/partial,cache/archives/partial}
    : >"$state/status"
    echo "$kind ${keys:+[signed-by=$keys]} ${mirror:-http://deb.debian.org/debian/} $release main" >"$state/sources.list"
    aside=(
        -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State=$state"
        -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root
        # A mirror that keeps an earlier state of a release has a Release file that has expired; its signature still holds.
        -o Acquire::Check-Valid-Until=false
    )
    logged "package lists of Debian $release" apt-get "${aside[@]}" update
}

# Unpacks programs of a release with their loader and libraries in a directory, DIRECTORY/bin first, and points them at
# those, so that they run on an older system without a process more. All of it comes at once, when it is complete.
programs_aside() { # DIRECTORY RELEASE PACKAGE... -- PROGRAM...
    local directory=$1 release=$2 new=$1.new state=$1.apt aside packages=() package program loader libraries
    shift 2
    while [ "$1" != -- ]; do packages+=("$1"); shift; done
    shift
    command -v patchelf >/dev/null || logged "patchelf" apt-get install -y --no-install-recommends patchelf
    lists_aside "$state" deb "$release" || return
    logged "Debian $release's ${packages[*]}, and their libraries" \
        apt-get "${aside[@]}" install -y --download-only --no-install-recommends "${packages[@]}" || return
    rm -rf "$new"
    mkdir -p "$new/root" "$new/bin"
    for package in "$state"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$new/root" || return
    done
    libraries=$(dirname "$(find "$new/root" -name 'libc.so.6' | head -1)")
    loader=$(find "$new/root" -name 'ld-linux*.so.*' | head -1)
    libraries=${libraries/"$new"/"$directory"}
    loader=${loader/"$new"/"$directory"}
    for program in "$@"; do
        # Under its own name or as a link to it, wherever its package keeps such programs.
        program=$(find "$new/root/usr" -name "$program" \( -type f -perm -1 -o -type l \) | sort | head -1)
        cp --dereference "$program" "$new/bin/" || return
        program=$new/bin/${program##*/}
        # A static one needs neither.
        if patchelf --print-interpreter "$program" >/dev/null 2>&1; then
            patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$program" || return
        fi
    done
    rm -rf "$directory" "$state"
    mv "$new" "$directory"
}
