#!/usr/bin/env bash
# Installs nginx on a Debian or Ubuntu; nothing when it is there.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
# shellcheck source=../packages.sh
. "$(dirname "$0")/../packages.sh"

need nginx nginx-light
install_missing nginx "$@"
