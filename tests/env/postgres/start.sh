#!/usr/bin/env bash
# Starts a PostgreSQL on loopback and on a unix socket, with the user `glance` and an empty
# database of that name, as an operator would make them for Glance.
#
#   start.sh DIRECTORY      afterwards: DIRECTORY/url is what `[database] connection` may name,
#                           and so is DIRECTORY/tls-url with `ssl*` behind it: `vouched` and the
#                           database of that name are reached with a certificate of our own only
#                           (DIRECTORY/data/tls, by certificates.sh)
#
# The data lies in a directory of its own, which DIRECTORY/data points at: PostgreSQL does not run
# as root, and whoever it runs as instead may not reach DIRECTORY. A crash of the machine may cost
# the data: it is worth nothing, and tests want it fast.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=../ports.sh
. "$(dirname "$0")/../ports.sh"

dir=$1
password='p@ss/w:rd%1'
bin=$(compgen -G "/usr/lib/postgresql/*/bin" | sort -V | tail -1)

runs() {
    [[ -s $dir/data/db/postmaster.pid ]] && kill -0 "$(head -1 "$dir/data/db/postmaster.pid")"
}

as_server() {
    if [[ $(id -u) == 0 ]]; then
        (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
    else
        "$@"
    fi
}

if runs 2> /dev/null; then exit 0; fi
rm -rf "$(readlink "$dir/data" || echo "$dir/data")" "$dir/data"
data=$(mktemp -d "${TMPDIR:-/tmp}/glissade-postgres.XXXXXX")
ln -s "$data" "$dir/data"
chmod 755 "$data"
if [[ $(id -u) == 0 ]]; then chown postgres: "$data"; fi
as_server "$bin/initdb" --pgdata="$data/db" --username=postgres --encoding=UTF8 \
    --locale-provider=icu --icu-locale=en --auth-local=trust --auth-host=scram-sha-256 \
    --no-sync > "$data/initdb.log"
mkdir "$data/tls"
"$(dirname "$0")/../certificates.sh" "$data/tls"
if [[ $(id -u) == 0 ]]; then chown -R postgres: "$data/tls"; fi
# The first line that fits counts.
sed -i "1i hostssl all vouched all scram-sha-256 clientcert=verify-ca\nhost all vouched all reject" \
    "$data/db/pg_hba.conf"

port=$(free_port postgres 13700)
options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$data"
options+=" -c ssl=on -c ssl_ca_file=$data/tls/ca.pem"
options+=" -c ssl_cert_file=$data/tls/server.pem -c ssl_key_file=$data/tls/server.key"
options+=" -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=400"
if ! as_server "$bin/pg_ctl" start --wait --timeout=60 --silent --pgdata="$data/db" \
    --log="$data/log" --options="$options"; then
    tail -20 "$data/log" >&2
    exit 1
fi
as_server "$bin/psql" --quiet --host="$data" --port="$port" --username=postgres postgres << SQL
CREATE ROLE glance LOGIN CREATEDB PASSWORD '$password';
CREATE DATABASE glance OWNER glance;
CREATE ROLE vouched LOGIN PASSWORD '$password';
CREATE DATABASE vouched OWNER vouched;
SQL
echo "postgresql+psycopg2://glance:p%40ss%2Fw%3Ard%251@127.0.0.1:$port/glance?sslmode=disable" \
    > "$dir/url"
echo "postgresql+psycopg2://vouched:p%40ss%2Fw%3Ard%251@127.0.0.1:$port/vouched" > "$dir/tls-url"
echo "postgresql://glance@/glance?host=$data&port=$port" > "$dir/socket-url"
