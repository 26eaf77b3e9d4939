# What setup scripts of Python programs share: a virtual environment with pinned packages. Sourced.

# Where virtual environments live; they outlast the servers' directories.
venvs=${GLISSADE_VENVS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/venv}

# make_venv NAME REQUIREMENTS [--check]   exit 77: it is not there, and --check only looks
make_venv() {
    local venv=$venvs/$1
    ! cmp --silent "$2" "$venv/is-whole" || return 0
    if [[ ${3:-} == --check ]]; then
        echo "$1: not installed: tests/env/$1/setup.sh" >&2
        exit 77
    fi
    echo "$1: installing $(grep -c == "$2") packages into $venv"
    rm -f "$venv/is-whole"
    mkdir -p "$venvs"
    python3 -m venv --clear "$venv" || {
        echo "$1: python3 makes no environments; as root: apt-get install python3-venv" >&2
        exit 77
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$2"
    cp "$2" "$venv/is-whole"
}
