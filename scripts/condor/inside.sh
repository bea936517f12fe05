#!/bin/sh
# Runs a command with the pool's root as its root: `inside.sh ROOT SHARED COMMAND…`, within a mount
# namespace of its own (`unshare --mount --propagation private`), so that the machine sees none of
# these mounts and nothing is left to unmount.
#
# The root is pivoted, not entered by chroot: below a chroot the kernel refuses user namespaces, and
# without those no ordinary user's job could start a container.
set -eu
root=$1
shared=$2
shift 2

mount --rbind "$root" "$root" # pivot_root takes only a mount point
for folder in /proc /dev; do
    mount --rbind "$folder" "$root$folder"
done
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared" # at the same path on both sides

cd "$root"
mkdir -p .before
pivot_root . .before
umount -l /.before
cd /
exec "$@"
