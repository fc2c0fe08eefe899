#!/usr/bin/env bash
# Podman's own tests of run and exec, from Debian's source package, under runc and under minirun: podman_suite.sh [RUNTIME]
#
# A test that fails under both is no business of the runtime: there is no registry, no network and no Alpine here. One that
# fails under minirun alone fails the script.
set -euo pipefail
. "$(dirname "$0")/engine.sh"
. "$(dirname "$0")/../scripts/aside.sh"
runtime=$(realpath "${1:-${MINIRUN_BIN:-$repository/bin/minirun}}")
[ -x "$runtime" ] || die "no runtime at $runtime: run make build"
suite=$repository/target/peers/$ENGINES-podman
files=(030-run 075-exec)

# The system may have no source packages.
fetch_suite() { # RELEASE
    local state=$suite.apt aside
    lists_aside "$state" deb-src "$1" &&
        logged "source of Podman in Debian $1" bash -c 'cd "$0" && apt-get "$@"' "$state" "${aside[@]}" source --download-only podman &&
        mkdir -p "$suite" &&
        tar -C "$suite" --strip-components 1 --wildcards -xf "$state"/*.orig.tar.* '*/test/system/*' &&
        echo "$1" >"$suite/release"
}

if [ -z "${MINIRUN_ENGINE_SANDBOX:-}" ]; then
    for program in podman bats jq runc; do
        command -v $program >/dev/null || {
            skip "podman's own tests" "needs $program"
            exit 0
        }
    done
    [ "$ENGINES" = system ] || [ -f "$suite/release" ] || fetch_suite "$ENGINES" ||
        skip "podman's own tests of Debian $ENGINES" "their source package cannot be fetched; taking the system's"
    [ -f "$suite/release" ] || fetch_suite "$(. /etc/os-release && echo "$VERSION_CODENAME")" ||
        { skip "podman's own tests" "their source package cannot be fetched"; exit 0; }
fi
enter_sandbox "$runtime"

# The image of the tests by its name, with what they look at in it.
image_directory
mkdir -p "$work/image"/{home/podman,usr/bin}
echo 20220615 >"$work/image/home/podman/testimage-id"
touch --date=@1600000000 "$work/image/home/podman/testimage-id"
printf '%s\n' '#!/bin/sh' 'while sleep 0.1; do :; done' >"$work/image/home/podman/pause"
printf '%s\n' '#!/bin/sh' 'case $# in 0) exec env ;; *) eval "echo \$$1" ;; esac' >"$work/image/bin/printenv"
chmod +x "$work/image/home/podman/pause" "$work/image/bin/printenv"
ln -s /proc/mounts "$work/image/etc/mtab"
chmod 0555 "$work/image"
tar -C "$work/image" -cf "$work/image.tar" .
export PODMAN_TEST_IMAGE_REGISTRY=localhost PODMAN_TIMEOUT=60 TMPDIR=$work

# One line a test: ok, not ok or skipped, and its name.
results() { # RUNTIME NAME [OPTION-OF-BATS...]
    local own=$work/$2 podman
    (
        podman_with "$1" "$own"
        podman=$own/bin/podman
        # Every container in our group.
        printf '%s\n' '#!/bin/bash' 'words=()' 'for word in "$@"; do' 'words+=("$word")' \
            "case \$put,\$word in ,run | ,create) words+=(--cgroup-parent /$parent); put=1 ;; esac" 'done' \
            "exec $podman \"\${words[@]}\"" >"$own/podman-in-group"
        chmod +x "$own/podman-in-group"
        "$podman" import --change 'WORKDIR /home/podman' --change 'CMD ["/bin/echo", "This container is intended for podman CI testing"]' \
            "$work/image.tar" localhost/libpod/testimage:20220615 >/dev/null 2>&1
        cd "$suite/test/system"
        PODMAN=$own/podman-in-group timeout -k 5 1200 bats --tap "${@:3}" "${files[@]/%/.bats}" </dev/null >"$work/$2.tap" 2>&1 || true
        "$podman" rm -af -t 0 >/dev/null 2>&1 || true
    )
    sed -nE 's/^ok [0-9]+ (.*) # skip.*/skipped \1/p; t; s/^(not ok|ok) [0-9]+ (.*)/\1 \2/p' "$work/$2.tap"
}

heading "podman's own tests with $runtime, beside runc"
# Most of their time is sleep.
results "$(command -v runc)" runc >"$work/runc.results" &
results "$runtime" minirun >"$work/minirun.results"
wait $!
# The first line of a report says how many tests there are.
for report in runc minirun; do
    planned=$(sed -n '1s/^1\.\.//p' "$work/$report.tap")
    [ "${planned:-0}" -gt 0 ] && [ "$(wc -l <"$work/$report.results")" = "$planned" ] ||
        die "of ${planned:-no} tests $(wc -l <"$work/$report.results") have a result under $report: $(tail -n 5 "$work/$report.tap")"
done
while IFS= read -r line; do
    name=${line#not ok } name=${name#ok } name=${name#skipped }
    pattern=$(sed 's/[][\.*^$+?(){}|/]/\\&/g' <<<"$name")
    ours=$(grep -E "^(ok|not ok|skipped) $pattern\$" "$work/minirun.results" | head -n 1) || true
    # The suite's containers end by themselves after some seconds, which a busy machine may miss.
    [ "${line%% "$name"},${ours%% "$name"}" != "ok,not ok" ] || ours=$(results "$runtime" minirun-again --filter "^$pattern\$" </dev/null)
    case "${line%% "$name"},${ours%% "$name"}" in
        *,ok) pass "$name" ;;
        skipped,skipped) skip "$name" "the suite skips it here" ;;
        "not ok,not ok") skip "$name" "fails under runc too" ;;
        *) fail "$name" "runc: ${line%% "$name"}, minirun: ${ours%% "$name"}" \
            "$(grep -F -A 25 "$name" "$work/minirun.tap" | grep '^#' | head -n 25)" ;;
    esac
done <"$work/runc.results"
count "podman's own tests"
