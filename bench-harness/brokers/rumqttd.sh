#!/usr/bin/env bash
# rumqttd from crates.io, MQTT 3.1.1. Its router is one thread and each listener another, whatever it is given. It keeps each
# topic's messages in a ring of memory segments and a subscriber that falls behind loses the oldest: here 16 of 4 MiB, because
# with the 10 of 100 MiB that it ships with, the 500 topics of a cell may take more memory than there is. It leaves TCP_NODELAY off
# and cannot be told otherwise.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pinned=0.20.0

version() { crate_version rumqttd; }
# Without --locked: the version of its dependency `metrics` that its authors locked does not compile since Rust 1.95.
install() { install_crate rumqttd $pinned; }

transports() { echo tls; }

tls_table() {
    if [ "$transport" = tls ]; then
        printf '[v4.1.tls]\ncertpath = "%s"\nkeypath = "%s"\ncapath = "%s"\n' "$tls_cert" "$tls_key" "$tls_ca"
    fi
}

run() {
    local connections=200000 segment=4194304 segments=16 delay_ms=0 payload=1048576
    if [ "$as_shipped" = yes ]; then connections=10010 segment=104857600 segments=10 delay_ms=1 payload=20480; fi
    cat >"$2/rumqttd.toml" <<CONF
id = 0

[router]
id = 0
max_connections = $connections
max_outgoing_packet_count = 200
max_segment_size = $segment
max_segment_count = $segments

[v4.1]
name = "v4"
listen = "127.0.0.1:$1"
next_connection_delay_ms = $delay_ms

$(tls_table)
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = $payload
max_inflight_count = 100
dynamic_filters = true
CONF
    cd "$2"
    exec "$cache_dir/bin/rumqttd" --quiet --config "$2/rumqttd.toml"
}

answer version install run "$@"
