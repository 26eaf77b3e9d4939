#!/usr/bin/env bash
# Runs a real glance-api in the foreground, on the socket CONFIG/glance.sock. Its configuration is
# CONFIG/glance-api.conf, the same that our server reads. The pipeline `trusted-auth` is the one of
# `keystone` without the filter that asks Keystone: who calls is what the request says.
#
#   api.sh DIRECTORY CONFIG
set -euo pipefail

dir=$(cd "$1" && pwd)
cd "$2"
sed -e 's/^keystone = \(.*\) authtoken \(.*\)/&\ntrusted-auth = \1 \2/' \
    "$dir/etc/glance/glance-api-paste.ini" > glance-api-paste.ini
cat >> glance-api-paste.ini << 'CONF'

[composite:glance-api-trusted-auth]
paste.composite_factory = glance.api:root_app_factory
/: api
/healthcheck: healthcheck
CONF
export OS_GLANCE_CONFIG_DIR=$PWD
exec "$dir/bin/gunicorn" --bind unix:glance.sock --workers 3 --timeout 120 \
    --graceful-timeout 1 glance.wsgi.api:application
