#!/usr/bin/env bash
# Looks for what a virtual environment with Glance needs; it is made by start.sh.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
# shellcheck source=../packages.sh
. "$(dirname "$0")/../packages.sh"

need /usr/bin/python3 python3
need_file "/usr/lib/python3*/ensurepip/__init__.py" python3-venv
install_missing glance "$@"
