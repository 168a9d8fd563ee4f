# Usage: unshare --pid --fork --kill-child --mount --propagation private sh container.sh FOLDER UID [OPEN...] -- COMMAND...
#
# Run a command as PID 1 and as another user, in a file system that nobody can write to, but for FOLDER, /dev/shm
# and what the machine has mounted elsewhere. Each OPEN is to be seen by every user, even if it stands in root's home.
set -e
folder=$1 uid=$2
shift 2
mount --bind "$folder" "$folder"
mkdir "$folder/open"
opened=
while [ "$1" != -- ]; do
    opened="$opened $1"
    mkdir -p "$folder/open$1"
    mount --bind "$1" "$folder/open$1"
    shift
done
shift
mount -t tmpfs -o mode=1777 none /dev/shm
mount -t tmpfs -o mode=755 none /root
for path in $opened; do
    [ -d "$path" ] || { mkdir -p "$path" && mount --bind "$folder/open$path" "$path"; }
done
mount -t proc none /proc
mount -o remount,bind,ro /
mount -o remount,ro /root
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --no-new-privs --bounding-set=-all -- "$@"
