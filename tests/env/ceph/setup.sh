#!/usr/bin/env bash
# Installs what a one-node Ceph and its clients need on a Debian or Ubuntu; nothing when it is there.
set -euo pipefail

wanted=(
    ceph-mon ceph-mon
    ceph-osd ceph-osd
    ceph ceph-common
    rbd ceph-common
    uuidgen uuid-runtime
)

missing=()
for ((i = 0; i < ${#wanted[@]}; i += 2)); do
    command -v "${wanted[i]}" > /dev/null || missing+=("${wanted[i + 1]}")
done
ldconfig -p | grep -q 'librbd\.so\.1 ' || missing+=(librbd1)
((${#missing[@]})) || exit 0

echo "ceph: installing ${missing[*]}"
if [[ $(id -u) != 0 ]]; then
    echo "ceph: not root: apt-get install ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends "${missing[@]}"
