# What start scripts share: a port of loopback that nobody listens on. Sourced.

# free_port NAME FIRST   one of a hundred from FIRST on, the next one being free too: some servers
#                        need a pair
free_port() {
    local port
    for ((port = $2; port < $2 + 100; port += 2)); do
        if ! ss -Hltn "( sport = :$port or sport = :$((port + 1)) )" | grep -q .; then
            echo "$port"
            return
        fi
    done
    echo "$1: no free port between $2 and $(($2 + 99))" >&2
    exit 1
}
