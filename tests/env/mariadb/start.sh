#!/usr/bin/env bash
# Starts a MariaDB on loopback and on a unix socket, with the user `glance` and an empty database
# of that name, as an operator would make them for Glance.
#
#   start.sh DIRECTORY      afterwards: DIRECTORY/url is what `[database] connection` may name,
#                           and so is DIRECTORY/tls-url with `ssl_*` behind it: `vouched` and the
#                           database of that name are reached with a certificate of our own only
#                           (DIRECTORY/data/tls, by certificates.sh)
#
# The data lies in a directory of its own, which DIRECTORY/data points at: a server that root
# starts runs as `mysql`, who may not reach DIRECTORY. Nothing of the system's configuration is
# read. A crash of the machine may cost the data: it is worth nothing, and tests want it fast.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=../ports.sh
. "$(dirname "$0")/../ports.sh"

dir=$1
password='p@ss/w:rd%1'

runs() {
    [[ -s $dir/data/pid ]] && kill -0 "$(cat "$dir/data/pid")" 2> /dev/null
}

sql() {
    mariadb --no-defaults --socket="$dir/data/sock" --user=root "$@"
}

await() {
    for _ in {1..300}; do
        if sql --execute='SELECT 1' > /dev/null 2>&1; then return; fi
        runs_or_starts || break
        sleep 0.1
    done
    echo "mariadb: does not answer; the end of its log:" >&2
    tail -20 "$dir/data/log" >&2
    exit 1
}

runs_or_starts() { kill -0 "$pid" 2> /dev/null; }

if runs; then exit 0; fi
rm -rf "$(readlink "$dir/data" || echo "$dir/data")" "$dir/data"
data=$(mktemp -d "${TMPDIR:-/tmp}/glissade-mariadb.XXXXXX")
ln -s "$data" "$dir/data"
user=$(id -un)
if [[ $user == root ]]; then
    user=mysql
    chown mysql: "$data"
fi
mkdir "$data/tls"
"$(dirname "$0")/../certificates.sh" "$data/tls"
chown -R "$user" "$data/tls"
mariadb-install-db --no-defaults --user="$user" --datadir="$data/db" --skip-test-db \
    --auth-root-authentication-method=normal > "$data/install.log"

port=$(free_port mariadb 13600)
mariadbd --no-defaults --user="$user" --datadir="$data/db" --socket="$data/sock" \
    --pid-file="$data/pid" --bind-address=127.0.0.1 --port="$port" --skip-name-resolve \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --max-connections=400 \
    --ssl-ca="$data/tls/ca.pem" --ssl-cert="$data/tls/server.pem" \
    --ssl-key="$data/tls/server.key" --character-set-server=utf8mb3 > "$data/log" 2>&1 &
pid=$!
disown
await
sql << SQL
CREATE DATABASE glance;
CREATE USER glance@localhost IDENTIFIED BY '$password', glance@127.0.0.1 IDENTIFIED BY '$password';
GRANT ALL ON *.* TO glance@localhost, glance@127.0.0.1;
CREATE DATABASE vouched;
CREATE USER vouched@127.0.0.1 IDENTIFIED BY '$password' REQUIRE X509;
GRANT ALL ON vouched.* TO vouched@127.0.0.1;
SQL
echo "mysql+pymysql://glance:p%40ss%2Fw%3Ard%251@127.0.0.1:$port/glance?charset=utf8&ssl_disabled=true" \
    > "$dir/url"
echo "mysql+pymysql://vouched:p%40ss%2Fw%3Ard%251@127.0.0.1:$port/vouched" > "$dir/tls-url"
echo "mysql+pymysql://glance:p%40ss%2Fw%3Ard%251@localhost/glance?unix_socket=$data/sock" \
    > "$dir/socket-url"
