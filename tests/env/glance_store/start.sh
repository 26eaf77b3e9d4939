#!/usr/bin/env bash
# Makes a virtual environment with Glance's own drivers. There is no server to start.
#
#   start.sh DIRECTORY      afterwards: DIRECTORY/bin/python drive.py ...
#
# Ceph's Python modules are Debian's, so the interpreter is Debian's too; they are linked in one by
# one, because nothing else of the system's may stand in for what glance_store asks for.
set -euo pipefail

dir=$1
wanted=glance_store==5.7.0

[[ $(cat "$dir/is-whole" 2> /dev/null) != "$wanted" ]] || exit 0
rm -f "$dir/is-whole"
/usr/bin/python3 -m venv --clear "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check "$wanted"
ln -sf /usr/lib/python3/dist-packages/{rados,rbd}.*.so "$dir"/lib/python3*/site-packages/
"$dir/bin/python" -c 'import glance_store, rados, rbd'
echo "$wanted" > "$dir/is-whole"
