#!/usr/bin/env bash
# There is no server to start: DIRECTORY/python names the interpreter that has the clients.
#
#   start.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../venv.sh
. "$here/../venv.sh"

echo "$venvs/clients/bin/python" > "$1/python"
