#!/usr/bin/env bash
# Installs a MariaDB server on a Debian or Ubuntu; nothing when it is there.
#
#   setup.sh [--check]      --check only looks; exit 77: something is missing
set -euo pipefail
# shellcheck source=../packages.sh
. "$(dirname "$0")/../packages.sh"

need mariadbd mariadb-server
need mariadb-install-db mariadb-server
need ss iproute2
need openssl openssl
install_missing mariadb "$@"
