#!/usr/bin/env bash
# Builds what a test run needs, side by side: build_tests.sh PROFILE [ROOTFS...]
#
# bin/minirun, the test programs, and the root filesystems that are named. The optimiser looks at the whole of bin/minirun on one
# processor for minutes; on the others the rest is done meanwhile, with its output in target/logs.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

profile=$1
shift
mkdir -p "$logs"
names=() pids=()
beside() { # LABEL COMMAND...
    local label=$1
    shift
    say "beside it: $label, into ${logs#"$repository/"}/$label.log"
    "$@" >"$logs/$label.log" 2>&1 </dev/null &
    names+=("$label")
    pids+=($!)
}
beside build-tests cargo test --no-run
[ $# = 0 ] || beside build-rootfs rootfs-examples/build.sh "$@"
failed=0
"$(dirname "$0")/build.sh" "$profile" || failed=1
# Nothing goes on behind the caller's back, whatever failed.
for i in "${!pids[@]}"; do
    if wait "${pids[$i]}"; then
        good "${names[$i]}: done"
    else
        # Who needs a root file system builds it again, and fails then; the other tests run.
        [ "${names[$i]}" = build-rootfs ] || failed=1
        bad "${names[$i]} failed; the end of ${logs#"$repository/"}/${names[$i]}.log:"
        tail -n 30 "$logs/${names[$i]}.log" | sed 's/^/    /' >&2
    fi
done
exit "$failed"
