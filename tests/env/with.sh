#!/usr/bin/env bash
# Runs a command with servers for its tests, and stops them whatever comes of it.
#
#   with.sh NAME... -- COMMAND...
#
# NAME is a folder beside this file with three scripts: `setup.sh [--check]` installs what the
# server needs (exit 77: this machine has not got it), `start.sh DIR` starts it with all its files
# in DIR, `stop.sh DIR` stops it and keeps the files for a look. The command finds DIR in
# GLISSADE_NAME; a variable that is set already names a server of the caller's, which is left alone.
#
# What this machine has not got is left out, and said before and after; where CI=true it fails.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${GLISSADE_ENV_DIR:-$here/../../target/env}

names=()
while [[ $1 != -- ]]; do names+=("$1"); shift; done
shift

started=()
left_out=()

say_what_is_left_out() {
    ((${#left_out[@]})) || return 0
    printf 'tests: skipped %s\n' "${left_out[@]}" >&2
}

finish() {
    for name in "${started[@]}"; do
        "$here/$name/stop.sh" "$root/$name" || echo "tests: $name was not stopped" >&2
    done
    say_what_is_left_out
}

start() {
    local name=$1 variable=GLISSADE_${1^^} why
    [[ -z ${!variable:-} ]] || return 0
    if ! why=$("$here/$name/setup.sh" --check 2>&1); then
        left_out+=("what needs $why")
        [[ ${CI:-} != true ]] || exit 1
        return 0
    fi
    mkdir -p "$root/$name"
    started+=("$name")
    "$here/$name/start.sh" "$root/$name"
    export "$variable=$(cd "$root/$name" && pwd)"
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for name in "${names[@]}"; do start "$name"; done
say_what_is_left_out
"$@"
