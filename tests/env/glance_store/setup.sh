#!/usr/bin/env bash
# Installs what Glance's own drivers need on a Debian or Ubuntu; nothing when it is there.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
# shellcheck source=../packages.sh
. "$(dirname "$0")/../packages.sh"

need /usr/bin/python3 python3
need_file "/usr/lib/python3*/ensurepip/__init__.py" python3-venv
need_file "/usr/lib/python3/dist-packages/rados.*.so" python3-rados
need_file "/usr/lib/python3/dist-packages/rbd.*.so" python3-rbd
install_missing glance_store "$@"
