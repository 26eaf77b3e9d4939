# What setup scripts share: finds out what is missing, and installs it where that is allowed.
# Sourced. The scripts name what they need and end with `install_missing NAME "$@"`.

PATH=$PATH:/usr/sbin:/sbin
missing=()

# need COMMAND PACKAGE
need() {
    command -v "$1" > /dev/null || missing+=("$2")
}

# need_file PATTERN PACKAGE
need_file() {
    compgen -G "$1" > /dev/null || missing+=("$2")
}

# need_library NAME PACKAGE: a grep that leaves early would end ldconfig by SIGPIPE, which is a failure
need_library() {
    ldconfig -p | grep -F "$1 " > /dev/null || missing+=("$2")
}

# install_missing NAME [--check]   exit 77: packages are missing, and this is no root or --check
install_missing() {
    ((${#missing[@]})) || return 0
    if [[ ${2:-} == --check || $(id -u) != 0 ]]; then
        echo "$1: missing; as root: apt-get install ${missing[*]}" >&2
        exit 77
    fi
    echo "$1: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get -o DPkg::Lock::Timeout=300 install -qy --no-install-recommends "${missing[@]}"
}
