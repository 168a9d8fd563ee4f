# 64-bit Arm, emulated by qemu-user on another machine, as `docker run --platform linux/arm64` does it. To set up a whole
# root under the emulator takes half an hour: its packages are unpacked, and pip runs outside. One server is started
# and stopped by hand: the demo and the smoke tests have deadlines that an emulator does not keep.
suite=trixie arch=arm64 packages=ca-certificates,mount,procps,python3 emulator=/usr/lib/binfmt.d/qemu-aarch64
[ -e "$emulator.conf" ] || reason="no emulator: apt-get install qemu-user-static"
[ "$(uname -m)" != aarch64 ] || emulator=
bootstrap() {
    debootstrap --foreign --variant=minbase --arch=arm64 --include="$packages" \
        "$suite" "$1" "$(mirror)" /usr/share/debootstrap/scripts/sid
    for package in "$1"/var/cache/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --keep-directory-symlink
    done
    # In a container debootstrap's first stage leaves a link to /proc, which its second stage would replace.
    [ ! -L "$1/proc" ] || { rm "$1/proc" && mkdir "$1/proc"; }
}
install_tests() {
    local wheels=(--only-binary=:all: --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64)
    rm -rf "$1/site"
    "$keep/builder/bin/pip" -q install "${wheels[@]}" --python-version 3.13 --target "$1/site" "$(echo "$1"/dist/*.whl)"
}
own_command='PYTHONPATH=/site exec python3 tests/platforms/serve.py spawn fork'
