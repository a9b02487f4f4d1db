# Builds a new root for the call from existing folders and enters it with no way back. Arguments: $1 the call's folder.
# Sourced by the first process of the namespaces, which keeps its rights; the command is started without any.
PATH=$PATH:/usr/sbin:/sbin
set -e
root=$1/root
mkdir "$root"
mount -n -t tmpfs -o size=256k,nr_inodes=256,mode=755,nosuid,nodev none "$root"
bind() {
    mount -n --bind "$1" "$root$1"
    mount -n -o "remount,bind,$2,nosuid$3" none "$root$1"
}
for name in /usr /bin /sbin /lib /lib32 /lib64 /libx32 /etc/alternatives; do
    if [ -L "$name" ]; then
        ln -s "$(readlink "$name")" "$root$name"
    elif [ -d "$name" ]; then
        mkdir -p "$root$name"
        bind "$name" ro ,nodev
    fi
done
mkdir -p "$root/dev" "$root/etc" "$root/proc" "$root/.old" "$root$1/in" "$root$1/work"
for name in /etc/ld.so.cache /etc/localtime /dev/null /dev/zero /dev/full /dev/random /dev/urandom; do
    if [ -e "$name" ]; then
        : >"$root$name"
        case $name in
        # Writing to a device does not write to its file system; its mode and owner stay as they are.
        /dev/*) bind "$name" ro ,noexec ;;
        *) bind "$name" ro ,nodev ;;
        esac
    fi
done
bind "$1/in" ro ,nodev
bind "$1/work" rw ,nodev
# Only until the old root is gone: `umount` reads what is mounted.
mount -n -t proc -o ro,nosuid,nodev,noexec none "$root/proc"
mount -n -o remount,bind,ro,nosuid,nodev none "$root"
cd "$root"
pivot_root . .old
cd /
umount -n -l /.old
umount -n -l /proc
set +e
