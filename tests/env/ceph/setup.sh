#!/usr/bin/env bash
# Installs what a one-node Ceph and its clients need on a Debian or Ubuntu; nothing when it is there.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
# shellcheck source=../packages.sh
. "$(dirname "$0")/../packages.sh"

need ceph-mon ceph-mon
need ceph-osd ceph-osd
need ceph-mgr ceph-mgr
need ceph ceph-common
need rbd ceph-common
need radosgw radosgw
need ss iproute2
need uuidgen uuid-runtime
need_library librbd.so.1 librbd1
install_missing ceph "$@"
