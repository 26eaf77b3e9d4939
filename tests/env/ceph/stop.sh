#!/usr/bin/env bash
# Stops daemons that start.sh started in a directory: all of them, or those named (mon.a, osd.0,
# client.rgw, mgr.x).
#
#   stop.sh [--purge] [DIRECTORY [DAEMON]...]      default: target/env/ceph; --purge: the data too
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

purge=
[[ ${1:-} != --purge ]] || { purge=yes; shift; }
dir=${1:-$here/../../../target/env/ceph}
[[ -d $dir ]] || exit 0
dir=$(cd "$dir" && pwd)
daemons=("${@:2}")
((${#daemons[@]})) || daemons=(mgr.x client.rgw osd.0 mon.a)
# shellcheck source=daemons.sh
. "$here/daemons.sh"

stop() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill "$pid" 2> /dev/null || true
    for _ in {1..200}; do
        runs "$1" || return 0
        sleep 0.05
    done
    echo "ceph: $1 ($pid) does not end; killed" >&2
    kill -9 "$pid" 2> /dev/null || true
    sleep 0.5
}

for daemon in "${daemons[@]}"; do
    stop "$daemon"
    rm -f "$dir/run/$daemon.pid"
done
if [[ -n $purge && -e $dir/made-by-start.sh ]]; then
    rm -rf "$dir"
fi
