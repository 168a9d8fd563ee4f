# Usage: unshare --mount --propagation private sh systemd.sh FOLDER
#
# Run a real systemd as PID 1 of namespaces of its own. It sees a cgroup tree of its own, a /run of its own and
# no unit but those in /run/systemd/system; the file system and the network are the machine's.
# FOLDER is an empty one. All of it ends with the standard input.
set -e
folder=$1 name=reaper-test-$$
before=$(sed -n 's/^0:://p' /proc/self/cgroup)

mount -t tmpfs none "$folder"
mkdir "$folder/cgroup" "$folder/dev"
mount -t cgroup2 none "$folder/cgroup"
mkdir "$folder/cgroup/$name"
echo $$ >"$folder/cgroup/$name/cgroup.procs"

cat >"$folder/init" <<'END'
set -e
dev=$1/dev
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/systemd/system /run/lock
mount -t tmpfs -o mode=755 none "$dev"
ln -s null "$dev/console"
for node in null zero full random urandom tty; do
    : >"$dev/$node"
    mount --bind "/dev/$node" "$dev/$node"
done
ln -s /proc/self/fd "$dev/fd"
mkdir -m 1777 "$dev/shm"
mount --move "$dev" /dev
for target in basic multi-user network-online shutdown sysinit; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $target >/run/systemd/system/$target.target
done
export container=reaper-test SYSTEMD_UNIT_PATH=/run/systemd/system
export SYSTEMD_GENERATOR_PATH= SYSTEMD_ENVIRONMENT_GENERATOR_PATH=
exec /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=null
END
unshare --pid --fork --kill-child --mount-proc --cgroup --uts --ipc sh "$folder/init" "$folder" &
cat >/dev/null
kill -KILL $! || :

echo $$ >"$folder/cgroup$before/cgroup.procs"
for _ in $(seq 100); do # until the kernel has ended them all
    find "$folder/cgroup/$name" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
