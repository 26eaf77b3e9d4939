#!/usr/bin/env bash
# Starts a one-node Ceph on loopback: a monitor and an OSD, cephx, the pool `images`, and a radosgw
# that speaks S3.
#
#   start.sh [DIRECTORY [mgr]]      default: target/env/ceph; mgr: a manager, too
#
# Everything lies in the directory, which start.sh makes; nothing is written to /etc/ceph or
# /var/lib/ceph. A cluster that is there already is started again with its data, and whatever of
# it runs is left alone. Afterwards: export CEPH_CONF=DIRECTORY/ceph.conf
#
# DIRECTORY/s3 has the radosgw's endpoint and a user's keys, a line each: endpoint, access key,
# secret key.
#
# client.glance may do what a cloud allows it: `profile rbd`, in the pool `images` only. Without a
# manager, which is the largest of the daemons, `ceph df` and the statistics of pools stay 0, and
# with them the quotas of pools; nothing else here needs one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

dir=${1:-$here/../../../target/env/ceph}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
export CEPH_CONF=$dir/ceph.conf
# shellcheck source=daemons.sh
. "$here/daemons.sh"
# shellcheck source=../ports.sh
. "$here/../ports.sh"

configure() {
    local port
    port=$(free_port ceph 13400)
    cat > "$dir/ceph.conf" << CONF
[global]
fsid = $(uuidgen)
mon host = [v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]
mon initial members = a
public addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = $dir/\$name.keyring
run dir = $dir/run
crash dir = $dir/crash
# A single OSD holds the only copy.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true

[mon]
mon data = $dir/mon.\$id
keyring = $dir/mon.\$id/keyring
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
mon cluster log file = $dir/log/cluster.log
# A developer's disk is rarely half empty.
mon data avail warn = 2
mon data avail crit = 1
# Changes of maps are collected for a second by default, and every snapshot is one.
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1

[mgr]
mgr data = $dir/mgr.\$id
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
# Its modules are for people and make pools of their own.
mgr disabled modules = balancer crash devicehealth orchestrator pg_autoscaler progress rbd_support status telemetry volumes
mgr stats period = 1
mgr tick period = 1

[osd]
osd data = $dir/osd.\$id
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
osd objectstore = bluestore
bluestore block size = $((8 << 30))
# Debian's OSD has no tcmalloc, without which it does not see its own size.
bluestore cache size = $((256 << 20))
osd class update on start = false
# How soon the OSD notices that it is full; BlueStore aborts when writes outrun it.
osd heartbeat interval = 1
# How many times 20 s an OSD may stand still. Without the leases that it renews it waits for the next
# renewal, and an OSD that is alone has at times been seen to wait for ever.
osd pool default read lease ratio = 6
osd op num shards = 2
osd op num threads per shard = 1
CONF
}

# Makes a key and leaves it both to its owner and to the monitor's first keyring.
key() {
    ceph-authtool --create-keyring "$dir/$1.keyring" --gen-key -n "$@" > /dev/null
    cat "$dir/$1.keyring" >> "$dir/mon.keyring"
}

make_cluster() {
    local fsid host
    touch "$dir/made-by-start.sh"
    mkdir -p "$dir"/{mon.a,osd.0,run,log,crash}
    configure
    fsid=$(sed -n 's/^fsid = //p' "$CEPH_CONF")
    host=$(sed -n 's/^mon host = //p' "$CEPH_CONF")
    ceph-authtool --create-keyring "$dir/mon.keyring" --gen-key -n mon. --cap mon 'allow *' > /dev/null
    key client.admin --cap mon 'allow *' --cap osd 'allow *'
    key osd.0 --cap mon 'allow profile osd' --cap mgr 'allow profile osd' --cap osd 'allow *'
    key client.glance --cap mon 'profile rbd' --cap osd 'profile rbd pool=images'
    monmaptool --create --clobber --fsid "$fsid" --addv a "$host" "$dir/monmap" > /dev/null
    ceph-mon -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/mon.keyring" > "$dir/log/mkfs.log" 2>&1
    uuidgen > "$dir/osd.uuid"
    ceph-osd -i 0 --mkfs --no-mon-config --osd-uuid "$(cat "$dir/osd.uuid")" >> "$dir/log/mkfs.log" 2>&1
}

make_pool() {
    ceph osd pool create images 32 32 > /dev/null
    # Waits until the pool can be written, too.
    timeout 60 rbd pool init images
}

# What a test that was killed has done to the cluster as a whole: it may call itself full, or lack
# its pool.
put_right() {
    local map
    map=$(ceph --connect-timeout 10 osd dump)
    if ! grep -q '^full_ratio 0.95$' <<< "$map"; then
        ceph osd set-nearfull-ratio 0.85
        ceph osd set-backfillfull-ratio 0.9
        ceph osd set-full-ratio 0.95
    fi
    grep -q "^pool [0-9]* 'images' " <<< "$map" || make_pool
}

start_osd() {
    local preload
    # What upstream's packages link the OSD with; it halves the CPU of large writes.
    preload=$(ldconfig -p | sed -n 's/.*libtcmalloc_minimal\.so\.4 .*=> //p' | head -n 1)
    LD_PRELOAD=$preload ceph-osd -i 0 2> "$dir/log/osd.stderr"
}

# The radosgw, which makes its own pools.
configure_rgw() {
    local port
    port=$(free_port ceph 13500)
    cat >> "$CEPH_CONF" << CONF

[client.rgw]
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
rgw frontends = beast endpoint=127.0.0.1:$port
rgw enable usage log = false
rgw thread pool size = 16
rgw enable apis = s3, admin
# What was deleted goes at once, so that a test can't fill the disk.
rgw gc obj min wait = 0
CONF
    ceph auth get-or-create client.rgw mon 'allow rw' osd 'allow rwx' -o "$dir/client.rgw.keyring"
    echo "http://127.0.0.1:$port" > "$dir/s3"
}

start_rgw() {
    grep -qF '[client.rgw]' "$CEPH_CONF" || configure_rgw
    runs client.rgw || radosgw -n client.rgw
    for _ in {1..300}; do
        ! rgw_answers || return 0
        sleep 0.1
    done
    echo "ceph: the radosgw does not answer; see $dir/log/client.rgw.log" >&2
    exit 1
}

rgw_answers() {
    local host_and_port
    host_and_port=$(head -n 1 "$dir/s3")
    host_and_port=${host_and_port#http://}
    (exec 3<> "/dev/tcp/${host_and_port%:*}/${host_and_port#*:}") 2> /dev/null
}

make_s3_user() {
    (($(wc -l < "$dir/s3") < 3)) || return 0
    radosgw-admin -n client.rgw user create --uid=glance --display-name=glance \
        --access-key=glanceaccess --secret-key=glancesecret > "$dir/log/radosgw-admin.log" 2>&1
    printf 'glanceaccess\nglancesecret\n' >> "$dir/s3"
}

start_mgr() {
    mkdir -p "$dir/mgr.x"
    ceph auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' -o "$dir/mgr.x.keyring"
    runs mgr.x || ceph-mgr -i x 2> "$dir/log/mgr.stderr"
    for _ in {1..300}; do
        ! ceph mgr stat 2> /dev/null | grep '"available": true' > /dev/null || return 0
        sleep 0.1
    done
    echo "ceph: the manager does not come up; see $dir/log/mgr.x.log" >&2
    exit 1
}

osd_is_up() {
    ceph --connect-timeout 10 osd stat 2> /dev/null | grep '1 up' > /dev/null
}

if [[ ! -e $dir/made-by-start.sh && -n $(ls -A "$dir") ]]; then
    echo "ceph: $dir holds something else; name an empty directory" >&2
    exit 1
fi
is_new=
if [[ ! -e $dir/is-whole ]]; then
    is_new=yes
    "$here/stop.sh" "$dir"
    find "$dir" -mindepth 1 -delete
    make_cluster
fi
runs mon.a || ceph-mon -i a
[[ -z $is_new ]] || ceph --connect-timeout 20 osd new "$(cat "$dir/osd.uuid")" 0 > /dev/null
runs osd.0 || start_osd
for _ in {1..100}; do
    ! osd_is_up || break
    sleep 0.1
done
osd_is_up || { echo "ceph: the OSD did not come up; see $dir/log/osd.0.log" >&2; exit 1; }
put_right
start_rgw
make_s3_user
touch "$dir/is-whole"
[[ ${2:-} != mgr ]] || start_mgr
echo "ceph: up; export CEPH_CONF=$CEPH_CONF"
