#!/usr/bin/env bash
# Stops the Keystone that start.sh started, and keeps its data.
#
#   stop.sh DIRECTORY
set -euo pipefail

dir=$(cd "$1" && pwd)
pid=$(cat "$dir/pid" 2> /dev/null) || exit 0

# Pids are used again by the system.
is_ours() {
    { tr "\0" "\n" < "/proc/$pid/environ"; } 2> /dev/null | grep -xF "OS_KEYSTONE_CONFIG_DIR=$dir/etc" > /dev/null
}

if is_ours; then
    kill "$pid"
    for _ in {1..200}; do
        is_ours || break
        sleep 0.05
    done
    if is_ours; then
        echo "keystone: $pid did not end; killed" >&2
        kill -9 "$pid"
    fi
fi
rm -f "$dir/pid"
