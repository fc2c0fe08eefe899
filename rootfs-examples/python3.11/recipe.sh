# Debian's Python 3.11 with Flask, a WSGI server, and clients for Redis and PostgreSQL.
#
# First stage: Debian packages, and the wheels of requirements.txt from PyPI. Second stage: the interpreter, the part of
# the standard library that a service can use, the wheels, and the libraries they load.

packages=(python3.11-minimal libpython3.11-stdlib)

stdlib=/usr/lib/python3.11
wheels=/usr/local/lib/python3.11/dist-packages

# Wheels are chosen for the Python of the root filesystem, so the host's pip and Python may be of any version.
install_wheels() {
    python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: apt-get install python3-pip (or run make rootfs)"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
        --require-hashes --requirement "$recipe/requirements.txt" \
        --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
        --platform "manylinux2014_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" \
        --platform "manylinux_2_28_$(uname -m)" --platform any \
        --target "$stage$wheels"
    rm -rf "$stage$wheels/bin"
}

# What no service runs: development, desktop, installers, old databases, and NIS with the Kerberos that it pulls in.
drop_unused() {
    (cd "$root$stdlib" && rm -rf config-3.11-* ensurepip idlelib lib2to3 pydoc_data tkinter turtle.py turtledemo \
        doctest.py pydoc.py venv xmlrpc unittest/test test __pycache__ distutils \
        lib-dynload/{nis,_dbm,_curses,_curses_panel,_tkinter}.cpython-*.so)
    find "$root$wheels" \( -name tests -o -name test \) -type d -prune -exec rm -rf {} +
    find "$root$wheels" \( -name '*.pyi' -o -name '*.c' -o -name RECORD \) -type f -delete
}

# The root is read-only at run time, so the bytecode has to be there; unchecked, because the sources cannot change.
compile_bytecode() {
    chroot "$root" /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash "$stdlib" "$wheels"
}

assemble() {
    install_wheels
    keep /usr/bin/python3.11 /usr/bin/busybox "$stdlib" "$wheels"
    ln -s python3.11 "$root/usr/bin/python3"
    ln -s python3.11 "$root/usr/bin/python"
    mkdir -p "$root/app" "$root/opt/shop" # a bundle binds its service over them, and what services share
    drop_unused
    keep_libraries "/usr/lib/$(uname -m)-linux-gnu/libgcc_s.so.1" # opened by name when a thread ends
    compile_bytecode
    busybox_links
}
