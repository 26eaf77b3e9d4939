#!/usr/bin/env bash
# Makes certificates for tests of TLS, which end in two days.
#
#   certificates.sh DIRECTORY   afterwards: `ca.pem`, an authority; `server` and `client`, each with
#                               `.pem` and `.key`, for whom it vouches, the server as 127.0.0.1 and
#                               under no name; `other-ca.pem` and `other`, who know them not
set -euo pipefail

cd "$1"
exec 3>&2 2> certificates.log
trap '(($? == 0)) || cat certificates.log >&3' EXIT

# authority NAME
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj "/CN=authority $1" -addext keyUsage=critical,keyCertSign \
        -keyout "$1.key" -out "$1.pem"
}

# vouch AUTHORITY NAME EXTENSION...
vouch() {
    local authority=$1 name=$2
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -keyout "$name.key" -out "$name.csr"
    openssl x509 -req -in "$name.csr" -CA "$authority.pem" -CAkey "$authority.key" -days 2 \
        -CAcreateserial -extfile <(printf '%s\n' basicConstraints=CA:FALSE "${@:3}") \
        -out "$name.pem"
    rm "$name.csr"
}

authority ca
vouch ca server subjectAltName=IP:127.0.0.1 extendedKeyUsage=serverAuth
vouch ca client extendedKeyUsage=clientAuth
authority other-ca
vouch other-ca other extendedKeyUsage=clientAuth
