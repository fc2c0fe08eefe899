# Debian's Redis: the server, its client, the libraries they load, and a small shell to look around with.

packages=(redis-server redis-tools)

assemble() {
    keep /usr/bin/redis-server /usr/bin/redis-check-rdb /usr/bin/redis-cli /usr/bin/busybox
    keep_libraries
    busybox_links
    add_user redis 999 /data
    mkdir -p "$root/data" "$root/etc/redis"
    chown 999:999 "$root/data"
    : >"$root/etc/redis/redis.conf" # a bundle binds its own over it
}
