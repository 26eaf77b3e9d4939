# What start.sh and stop.sh share: where a daemon's pid stands, and whether it is ours.
# Sourced, with `dir` set to the cluster's directory. A daemon is `mon.a`,
# `osd.0`, `client.rgw` or `mgr.x`.

# The pid of a daemon of this cluster, if it runs. Pids are used again by the system, so the
# program's name and the configuration that it was started with have to match.
pid_of() {
    local pid program=ceph-${1%%.*}
    [[ $1 != client.rgw ]] || program=radosgw
    pid=$(tr -dc 0-9 2> /dev/null < "$dir/run/$1.pid") || return 1
    [[ -n $pid && $(cat "/proc/$pid/comm" 2> /dev/null) == "$program" ]] || return 1
    tr '\0' '\n' 2> /dev/null < "/proc/$pid/environ" | grep -xF "CEPH_CONF=$dir/ceph.conf" > /dev/null || return 1
    echo "$pid"
}

runs() {
    pid_of "$1" > /dev/null
}
