#!/usr/bin/env bash
# Installs Keystone, in a virtual environment of its own below target/; nothing when it is there.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../packages.sh
. "$here/../packages.sh"
# shellcheck source=../venv.sh
. "$here/../venv.sh"

need python3 python3
need ss iproute2
need curl curl
install_missing keystone "$@"
make_venv keystone "$here/requirements.txt" "$@"
