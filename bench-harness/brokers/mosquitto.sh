#!/usr/bin/env bash
# Mosquitto, as Debian packages it. It has one thread, whatever it is given.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH=$PATH:/usr/sbin

version() {
    needs mosquitto 'Debian package mosquitto'
    # It prints its version with its help, and fails.
    { mosquitto -h 2>/dev/null || true; } | sed -nE '1s/^(mosquitto) version (.*)/\1 \2/p'
}

install() {
    command -v mosquitto >/dev/null || install_debian mosquitto
}

run() {
    cat >"$2/mosquitto.conf" <<CONF
listener $1 127.0.0.1
allow_anonymous true
persistence false
log_dest stderr
log_type error
connection_messages false
sys_interval 0
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 0
CONF
    exec mosquitto -c "$2/mosquitto.conf"
}

answer version install run "$@"
