#!/usr/bin/env bash
# Starts a Keystone on loopback, with users to call with: SQLite, fernet tokens.
#
#   start.sh DIRECTORY      afterwards: DIRECTORY/cloud.json says where it is and who there is
#
# One that runs is left alone; one that was stopped is started again with its data, and with its
# port unless somebody else listens there by now.
# people.py says who there is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../venv.sh
. "$here/../venv.sh"
# shellcheck source=../ports.sh
. "$here/../ports.sh"

dir=$(cd "$1" && pwd)
bin=$venvs/keystone/bin
export OS_KEYSTONE_CONFIG_DIR=$dir/etc PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=1

runs() {
    local pid
    pid=$(cat "$dir/pid" 2> /dev/null) || return 1
    { tr "\0" "\n" < "/proc/$pid/environ"; } 2> /dev/null | grep -xF "OS_KEYSTONE_CONFIG_DIR=$dir/etc" > /dev/null
}

configure() {
    mkdir -p "$dir"/{etc,log,fernet,credential}
    chmod 700 "$dir"/{fernet,credential}
    cat > "$dir/etc/keystone.conf" << CONF
[DEFAULT]
log_file = $dir/log/keystone.log
[database]
connection = sqlite:///$dir/keystone.db?timeout=60
[token]
provider = fernet
caching = false
# Tokens of tests end when the test says so.
expiration = 36000
[fernet_tokens]
key_repository = $dir/fernet
[fernet_receipts]
key_repository = $dir/fernet
[credential]
key_repository = $dir/credential
[identity]
# As few rounds as bcrypt has: these passwords are worth nothing.
password_hash_rounds = 4
[cache]
# Users, projects and roles: a token takes hundreds of statements without. There is one process.
enabled = true
backend = dogpile.cache.memory
[catalog]
caching = false
CONF
}

manage() {
    "$bin/keystone-manage" --config-file "$dir/etc/keystone.conf" "$@" >> "$dir/log/manage.log" 2>&1 || {
        echo "keystone: keystone-manage $1 failed; the end of its log:" >&2
        tail -5 "$dir/log/manage.log" >&2
        exit 1
    }
}

make_cloud() {
    local user group
    user=$(id -un) group=$(id -gn)
    configure
    manage db_sync
    "$bin/python" -c 'import sqlite3, sys
sqlite3.connect(sys.argv[1]).execute("pragma journal_mode=wal")' "$dir/keystone.db"
    manage fernet_setup --keystone-user "$user" --keystone-group "$group"
    manage credential_setup --keystone-user "$user" --keystone-group "$group"
    manage bootstrap --bootstrap-password secret --bootstrap-region-id RegionOne \
        --bootstrap-admin-url "$url" --bootstrap-public-url "$url" --bootstrap-internal-url "$url"
}

# The port is written down in the catalog, too.
move() {
    local old=$url
    free_port keystone 13800 > "$dir/port"
    url=http://127.0.0.1:$(cat "$dir/port")/v3
    "$bin/python" -c 'import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as keystone:
    keystone.execute("update endpoint set url = ? where url = ?", sys.argv[2:])' \
        "$dir/keystone.db" "$url" "$old"
    sed -i "s|$old|$url|" "$dir/cloud.json"
}

serve() {
    rm -f "$dir/log/gunicorn.log"
    # It must outlive this script and keep none of its descriptors.
    setsid "$bin/gunicorn" --pythonpath "$here" --worker-tmp-dir /dev/shm --pid "$dir/pid" \
        --bind "127.0.0.1:$(cat "$dir/port")" --worker-class gthread --threads 4 --timeout 120 \
        --keep-alive 30 --log-file "$dir/log/gunicorn.log" wsgi:application \
        > "$dir/log/stdout.log" 2>&1 < /dev/null &
    for _ in {1..300}; do
        # Whoever answers there may be another Keystone.
        ! grep -qs -e 'exited with code' -e 'Connection in use' "$dir/log/gunicorn.log" || break
        ! curl --silent --fail --max-time 20 --output /dev/null "$url" || return 0
        sleep 0.2
    done
    echo "keystone: does not answer; the end of its log:" >&2
    tail -n 5 "$dir/log/stdout.log" >&2
    "$here/stop.sh" "$dir"
    exit 1
}

if runs; then exit 0; fi
if [[ ! -e $dir/is-whole ]]; then
    find "$dir" -mindepth 1 -delete
    free_port keystone 13800 > "$dir/port"
fi
url=http://127.0.0.1:$(cat "$dir/port")/v3
echo "$bin/python" > "$dir/python"
is_new=
[[ -e $dir/is-whole ]] || { is_new=yes; make_cloud; }
is_free "$(cat "$dir/port")" || move
serve
[[ -z $is_new ]] || "$bin/python" "$here/people.py" "$url" > "$dir/cloud.json"
touch "$dir/is-whole"
