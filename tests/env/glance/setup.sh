#!/usr/bin/env bash
# Looks for what a virtual environment with Glance needs, which is made by start.sh, and for qemu-img,
# whose images Glance and ours are asked about.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
# shellcheck source=../packages.sh
. "$(dirname "$0")/../packages.sh"

need /usr/bin/python3 python3
need qemu-img qemu-utils
need_file "/usr/lib/python3*/ensurepip/__init__.py" python3-venv
install_missing glance "$@"
