#!/usr/bin/env bash
# Stops the PostgreSQL that start.sh started, and removes its data; the log stays.
#
#   stop.sh DIRECTORY
set -euo pipefail

dir=$1
data=$(readlink "$dir/data") || exit 0
pid=$(head -1 "$data/db/postmaster.pid" 2> /dev/null) || true
# SIGINT: clients are cut off instead of waited for.
if [[ -n $pid ]] && kill -INT "$pid" 2> /dev/null; then
    for _ in {1..200}; do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.05
    done
    kill -QUIT "$pid" 2> /dev/null && echo "postgres: $pid did not end; killed" >&2
fi
cp "$data/log" "$dir/log" 2> /dev/null || true
rm -rf "$data" "$dir/data" "$dir/url" "$dir/socket-url" "$dir/tls-url"
