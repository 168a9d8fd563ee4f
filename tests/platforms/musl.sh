# CPython for musl, on Debian 13. Debian has no such package: Python and the libraries that it needs are compiled from
# Debian's sources, once, which takes some ten minutes. The index has wheels for musl of all that Sanic needs.
suite=trixie python=/usr/local/bin/python3.13
packages=autoconf,automake,gcc,libltdl-dev,libtool,make,musl-tools,perl,xz-utils
[ "$(uname -m)" = x86_64 ] || reason="it is made on x86-64 alone"
bootstrap() {
    debootstrap --variant=minbase --include="ca-certificates,mount,procps,util-linux,$packages" \
        "$suite" "$1" "$(mirror)" /usr/share/debootstrap/scripts/sid &&
        printf "deb-src $(mirror) %s main\n" "$suite" bookworm >>"$1/etc/apt/sources.list" &&
        cp /etc/resolv.conf "$1/etc/" &&
        cp "$here/musl-build" "$1/usr/src/" &&
        enter "$1" /usr/src/musl-build
}
