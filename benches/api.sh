#!/usr/bin/env bash
# Requests per second, ours and those of a real Glance on uWSGI, in one run on one machine.
#
#   cargo build --release && benches/api.sh [ARGUMENTS of `glissade bench api`]
#
# Both serve the same MariaDB with 10,000 images, each with four properties, two tags and one
# location; a page of the list has 1,000 of them. Neither asks who calls, and policies let everybody
# read, which is the least that Glance can do for a request. uWSGI runs one process for each core
# (PROCESSES), with the options of Glance's own sample; ours is as it comes. tests/env/{mariadb,glance}
# say what has to be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=../tests/env/ports.sh
. tests/env/ports.sh

if [[ -z ${GLISSADE_MARIADB:-} || -z ${GLISSADE_GLANCE:-} ]]; then
    exec tests/env/with.sh mariadb glance -- "$0" "$@"
fi

glissade=${GLISSADE:-target/release/glissade}
images=${IMAGES:-10000}
processes=${PROCESSES:-$(nproc)}
bin=$GLISSADE_GLANCE/bin
data=$(mktemp -d "${TMPDIR:-/tmp}/glissade-bench-api.XXXXXX")
pids=()

finish() {
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2> /dev/null || continue
        wait "$pid" 2> /dev/null || true
    done
    sql --execute='DROP DATABASE IF EXISTS bench_api' || true
    rm -rf "$data"
}

sql() { mariadb --no-defaults --socket="$GLISSADE_MARIADB/data/sock" --user=root "$@"; }

# die WHAT LOG
die() {
    echo "api.sh: $1; the end of $2:" >&2
    tail -20 "$2" >&2
    exit 1
}

# await PID LOG COMMAND...    until it succeeds or the process is gone
await() {
    local pid=$1 log=$2
    shift 2
    for _ in {1..600}; do
        if "$@" > /dev/null 2>&1; then return; fi
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
    done
    die "$* does not come true" "$log"
}

configure() {
    local url
    url=$(sed 's,/glance?,/bench_api?,' "$GLISSADE_MARIADB/url")
    mkdir -p "$data"/{images,staging,tasks,locks}
    printf '%s: "@"\n' get_images get_image > "$data/policy.yaml"
    cat > "$data/glance-api.conf" << CONF
[DEFAULT]
enabled_backends = fast:file
log_file = $data/glance-api.log
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = $data/images
[os_glance_staging_store]
filesystem_store_datadir = $data/staging
[os_glance_tasks_store]
filesystem_store_datadir = $data/tasks
[database]
connection = $url
[oslo_concurrency]
lock_path = $data/locks
[oslo_policy]
policy_file = $data/policy.yaml
[paste_deploy]
config_file = $GLISSADE_GLANCE/etc/glance/glance-api-paste.ini
CONF
}

fill() {
    sql --execute='DROP DATABASE IF EXISTS bench_api; CREATE DATABASE bench_api'
    "$bin/glance-manage" --config-file "$data/glance-api.conf" db sync > "$data/sync.log" 2>&1 ||
        die "glance-manage db sync failed" "$data/sync.log"
    sql bench_api << SQL
INSERT INTO images (id, name, size, status, visibility, owner, checksum, os_hash_algo,
        os_hash_value, disk_format, container_format, min_disk, min_ram, protected, os_hidden,
        created_at, updated_at, deleted)
    SELECT uuid(), concat('image-', seq), seq * 1048576, 'active', 'public', md5(seq % 50),
        md5(seq), 'sha512', sha2(seq, 512), 'qcow2', 'bare', 10, 512, 0, 0,
        '2025-01-01' + INTERVAL seq SECOND, '2025-02-01' + INTERVAL seq SECOND, 0
    FROM seq_1_to_$images;
INSERT INTO image_properties (image_id, name, value, created_at, deleted)
    SELECT id, given.name, given.value, images.created_at, 0 FROM images CROSS JOIN (
        SELECT 'os_distro' AS name, 'debian' AS value UNION SELECT 'os_version', '12'
        UNION SELECT 'hw_disk_bus', 'scsi' UNION SELECT 'hw_scsi_model', 'virtio-scsi') AS given;
INSERT INTO image_tags (image_id, value, created_at, deleted)
    SELECT id, given.tag, images.created_at, 0 FROM images CROSS JOIN (
        SELECT 'production' AS tag UNION SELECT 'x86-64') AS given;
INSERT INTO image_locations (image_id, value, meta_data, status, created_at, deleted)
    SELECT id, concat('file://$data/images/', id), '{"store": "fast"}', 'active', created_at, 0
    FROM images;
ANALYZE TABLE images, image_properties, image_tags, image_locations;
SQL
}

start_glance() {
    [[ -x $bin/uwsgi ]] ||
        "$bin/pip" install --quiet --disable-pip-version-check 'uwsgi==2.0.*'
    glance_port=$(free_port api.sh 13900)
    OS_GLANCE_CONFIG_DIR=$data "$bin/uwsgi" --http-socket "127.0.0.1:$glance_port" \
        --master --processes "$processes" --lazy-apps --enable-threads --thunder-lock \
        --die-on-term --exit-on-reload --buffer-size 65535 --add-header 'Connection: close' \
        --http-raw-body --http-chunked-input --http-auto-chunked --disable-logging \
        --module glance.wsgi.api:application --venv "$GLISSADE_GLANCE" > "$data/uwsgi.log" 2>&1 &
    glance=$!
    pids+=("$glance")
    await "$glance" "$data/uwsgi.log" curl -fsS "http://127.0.0.1:$glance_port/healthcheck"
}

start_glissade() {
    "$glissade" serve --config-file "$data/glance-api.conf" --listen 127.0.0.1:0 \
        --admin-listen 127.0.0.1:0 > "$data/glissade.out" 2> "$data/glissade.log" &
    ours=$!
    pids+=("$ours")
    await "$ours" "$data/glissade.log" grep 'serving on' "$data/glissade.out"
    address=$(sed -n 's,.*serving on http://,,p' "$data/glissade.out")
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
configure
fill > /dev/null
start_glance
start_glissade
"$glissade" bench api --limit 1000 \
    --server "glissade=$address@$ours" --server "glance=127.0.0.1:$glance_port@$glance" \
    --database "$(cat "$GLISSADE_MARIADB/data/pid")" "$@"
