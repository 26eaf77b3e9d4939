#!/usr/bin/env bash
# Stops the MariaDB that start.sh started, and removes its data; the log stays.
#
#   stop.sh DIRECTORY
set -euo pipefail

dir=$1
data=$(readlink "$dir/data") || exit 0
pid=$(cat "$data/pid" 2> /dev/null) || true
if [[ -n $pid ]] && kill "$pid" 2> /dev/null; then
    for _ in {1..200}; do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.05
    done
    kill -9 "$pid" 2> /dev/null && echo "mariadb: $pid did not end; killed" >&2
fi
cp "$data/log" "$dir/log" 2> /dev/null || true
rm -rf "$data" "$dir/data" "$dir/url" "$dir/socket-url" "$dir/tls-url"
