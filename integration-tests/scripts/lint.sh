#!/usr/bin/env bash
# Formatting, clippy without warnings, licences and advisories of the dependencies.
set -euo pipefail
. "$(dirname "$0")/narrate.sh"
PATH=$HOME/.cargo/bin:$PATH
cd "$repository"

run cargo fmt --all --check
run cargo clippy --all-targets --quiet -- -D warnings
if ! cargo deny --version >/dev/null 2>&1; then
    say "SKIPPED cargo deny (licences, advisories): it is not installed and could not be within three minutes"
else
    run cargo deny --log-level error check bans licenses sources
    advisories=https://github.com/rustsec/advisory-db
    if timeout 20 git ls-remote --heads "$advisories" >/dev/null 2>&1; then
        run cargo deny --log-level error check advisories
    else
        say "SKIPPED cargo deny check advisories: $advisories cannot be reached from here"
    fi
fi
good "lint: clean"
