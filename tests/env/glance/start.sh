#!/usr/bin/env bash
# Makes a virtual environment with Glance: its `glance-manage` is asked what it makes of our schema
# and makes its own, its API runs beside our server (`api.sh`). There is no server to start.
#
#   start.sh DIRECTORY      afterwards: DIRECTORY/bin/glance-manage --config-file ... db version
set -euo pipefail

dir=$1
wanted="glance==33.0.0 gunicorn==23.0.0 PyMySQL psycopg2-binary"

[[ $(cat "$dir/is-whole" 2> /dev/null) != "$wanted" ]] || exit 0
rm -f "$dir/is-whole"
/usr/bin/python3 -m venv --clear "$dir"
# shellcheck disable=SC2086  # words
"$dir/bin/pip" install --quiet --disable-pip-version-check $wanted
"$dir/bin/glance-manage" --help > /dev/null
echo "$wanted" > "$dir/is-whole"
