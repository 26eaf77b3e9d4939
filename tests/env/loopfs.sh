#!/usr/bin/env bash
# Makes a file system for a test, and takes it away again.
#
#   loopfs.sh up xfs|btrfs|ext4|tmpfs BYTES DIRECTORY   exit 77: this machine can't, standard error
#                                                       says why
#   loopfs.sh again DIRECTORY                           mounts it anew: nothing of it is in memory
#   loopfs.sh down DIRECTORY
#
# The image of a loop file system lies beside the directory, sparse, so that a large one costs
# only what is written. The loop device goes with the mount. So does a note of the process that
# asked: what one that is dead has left is taken away before another is made.
set -euo pipefail

cannot() {
    echo "loopfs: $*" >&2
    exit 77
}

need() {
    command -v "$1" > /dev/null || cannot "$1 is missing: apt-get install $2"
}

make_image() {
    local kind=$1 bytes=$2 image=$3
    truncate --size "$bytes" "$image"
    case $kind in
        xfs) need mkfs.xfs xfsprogs && mkfs.xfs -q -f "$image" ;;
        btrfs) need mkfs.btrfs btrfs-progs && mkfs.btrfs -q -f "$image" ;;
        ext4) need mkfs.ext4 e2fsprogs && mkfs.ext4 -q -F -m 0 "$image" ;;
        *) echo "loopfs: unknown kind $kind" >&2; exit 2 ;;
    esac
}

# A process by its id and the time of its start: ids are used again by the system.
process() {
    local stat
    stat=$(cat "/proc/$1/stat" 2> /dev/null) || return 1
    # The name before it may have blanks.
    stat=${stat##*) }
    echo "$1 $(cut -d ' ' -f 20 <<< "$stat")"
}

# Takes away mounts whose process has died. One that another script takes away meanwhile is gone.
take_away_stale() {
    local directory owner
    while read -r _ directory _; do
        owner=$(cat "$directory.owner" 2> /dev/null) || continue
        if [[ $(process "${owner%% *}") != "$owner" ]]; then
            echo "loopfs: $directory was left by a process that is dead" >&2
            down "$directory" || true
        fi
    done < /proc/mounts
}

up() {
    local kind=$1 bytes=$2 directory=$3
    PATH=$PATH:/usr/sbin:/sbin
    [[ $(id -u) == 0 ]] || cannot "mounting a $kind file system needs root"
    take_away_stale
    mkdir -p "$directory"
    process "$PPID" > "$directory.owner"
    if [[ $kind == tmpfs ]]; then
        mount -t tmpfs -o "size=$bytes" glissade-test "$directory" || cannot "tmpfs refused"
        return
    fi
    make_image "$kind" "$bytes" "$directory.img"
    mount -o loop -t "$kind" "$directory.img" "$directory" \
        || cannot "$kind on a loop device refused (no loop device, or no $kind in the kernel)"
}

again() {
    umount "$1"
    mount -o loop "$1.img" "$1"
}

down() {
    umount "$1" 2> /dev/null || umount --lazy "$1"
    rm -f "$1.img" "$1.owner"
}

case ${1:-} in
    up) shift; up "$@" ;;
    again) shift; again "$@" ;;
    down) shift; down "$@" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
