# Debian's nginx without its optional modules, and a small shell, which asks it for its health.

packages=(nginx-light)

assemble() {
    keep /usr/sbin/nginx /usr/bin/busybox /etc/nginx/mime.types
    mkdir -p "$root/var/lib/nginx"
    keep_libraries
    busybox_links
    add_user nginx 998 /var/lib/nginx
    : >"$root/etc/nginx/nginx.conf" # a bundle binds its own over it
}
