# How the scripts speak: sourced, not run. Colour on a terminal only, and not where NO_COLOR is set.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
logs=$repository/target/logs

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' cyan=$'\e[36m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' cyan='' plain=''
fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
good() { printf '%s✓ %s%s\n' "$green" "$*" "$plain"; }
bad() { printf '%s✗ %s%s\n' "$red" "$*" "$plain" >&2; }
die() { bad "$*"; exit 1; }

# Shows a command as a person would type it, without running it.
show() { printf '%s$ %s%s\n' "$cyan" "$*" "$plain"; }

# Shows a command, then runs it.
run() { show "$*"; "$@"; }

# Runs a long command with its output in a log. Elapsed time on one line of a terminal, a line every 20 seconds
# elsewhere; the end of the log if it fails.
logged() { # LABEL COMMAND...
    local label=$1 log started=$SECONDS pid status=0 ticks=0
    shift
    mkdir -p "$logs"
    log=$logs/$(tr -cs 'A-Za-z0-9' '-' <<<"$label" | sed 's/-$//').log
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ -t 1 ]; then
            printf '\r%s  %s ... %d s%s' "$dim" "$label" $((SECONDS - started)) "$plain"
        elif ((ticks % 100 == 99)); then
            printf '  %s ... %d s\n' "$label" $((SECONDS - started))
        fi
        sleep 0.2
        ticks=$((ticks + 1))
    done
    wait "$pid" || status=$?
    [ ! -t 1 ] || printf '\r\e[K'
    if [ "$status" != 0 ]; then
        bad "$label: failed with exit status $status after $((SECONDS - started)) s; the end of ${log#"$repository/"}:"
        tail -n 30 "$log" | sed 's/^/    /' >&2
        return "$status"
    fi
    printf '  %s: done in %d s\n' "$label" $((SECONDS - started))
}
