# Waits for the shop, however it was started: sourced, not run.

port=${SHOP_PORT:-8080} # the host's

# Returns when products and orders are answered through nginx and the gateway.
await_shop() {
    local deadline=$((SECONDS + 60)) path
    for path in /api/products /api/orders; do
        until curl -fs --max-time 5 -o /dev/null "http://127.0.0.1:$port$path"; do
            ((SECONDS < deadline)) || die "http://127.0.0.1:$port$path does not answer after 60 seconds"
            sleep 0.1
        done
    done
}
