#!/usr/bin/env bash
# Installs the clients that people use, unmodified: python-openstackclient, python-glanceclient and
# openstacksdk, in a virtual environment of their own below target/; nothing when they are there.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../packages.sh
. "$here/../packages.sh"
# shellcheck source=../venv.sh
. "$here/../venv.sh"

need python3 python3
install_missing clients "$@"
make_venv clients "$here/requirements.txt" "$@"
