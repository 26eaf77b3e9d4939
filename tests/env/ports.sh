# What start scripts share: a port of loopback that nobody listens on. Sourced.

is_free() {
    [[ -z $(ss -Hltn "( sport = :$1 )") ]]
}

# free_port NAME FIRST   one of a hundred from FIRST on, the next one being free too: some servers
#                        need a pair
free_port() {
    local port
    for ((port = $2; port < $2 + 100; port += 2)); do
        if is_free "$port" && is_free $((port + 1)); then
            echo "$port"
            return
        fi
    done
    echo "$1: no free port between $2 and $(($2 + 99))" >&2
    exit 1
}
