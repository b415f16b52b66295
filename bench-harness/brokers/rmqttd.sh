#!/usr/bin/env bash
# RMQTT from crates.io, with the plugin that keeps retained messages, in memory.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pinned=0.24.0

version() { crate_version rmqttd; }

# Its build wants protoc and cmake, and takes the better part of an hour on two cores.
install() {
    local missing=()
    command -v protoc >/dev/null || missing+=(protobuf-compiler)
    command -v cmake >/dev/null || missing+=(cmake)
    [ ${#missing[@]} -eq 0 ] || install_debian "${missing[@]}"
    install_crate rmqttd $pinned --locked
}

choices() {
    echo 'nagle: TCP_NODELAY off, as it ships'
    echo 'nodelay: TCP_NODELAY on'
}

run() {
    local nodelay=false
    [ "$choice" != nodelay ] || nodelay=true
    mkdir "$2/plugins"
    cat >"$2/plugins/rmqtt-retainer.toml" <<CONF
storage.type = "ram"
max_retained_messages = 0
max_payload_size = "1MB"
CONF
    cat >"$2/plugins/rmqtt-acl.toml" <<CONF
rules = [["allow", "all"]]
CONF
    cat >"$2/rmqtt.toml" <<CONF
node.id = 1
rpc.server_addr = "127.0.0.1:0"
log.to = "file"
log.dir = "$2"
log.file = "rmqtt.log"
plugins.dir = "$2/plugins"
plugins.default_startups = ["rmqtt-retainer"]
plugins.disabled_default_startups = ["rmqtt-http-api", "rmqtt-counter", "rmqtt-acl"]
listener.tcp.bench.addr = "127.0.0.1:$1"
listener.tcp.bench.allow_anonymous = true
CONF
    cd "$2"
    # What is not named above is as it ships.
    if [ "$as_shipped" = yes ]; then exec "$cache_dir/bin/rmqttd" --config "$2/rmqtt.toml"; fi
    cat >>"$2/rmqtt.toml" <<CONF
log.level = "error"
node.busy.check_enable = false
mqtt.max_sessions = 0
listener.tcp.bench.workers = $threads
listener.tcp.bench.max_connections = 1024000
listener.tcp.bench.max_handshaking_limit = 100000
listener.tcp.bench.backlog = 4096
listener.tcp.bench.nodelay = $nodelay
listener.tcp.bench.min_keepalive = 0
listener.tcp.bench.allow_zero_keepalive = true
listener.tcp.bench.max_inflight = 1000
listener.tcp.bench.max_mqueue_len = 1000000
listener.tcp.bench.mqueue_rate_limit = "4294967295,1s"
listener.tcp.bench.max_qos_allowed = 2
listener.tcp.bench.retain_available = true
listener.tcp.bench.session_expiry_interval = "2h"
CONF
    TOKIO_WORKER_THREADS=$threads exec "$cache_dir/bin/rmqttd" --config "$2/rmqtt.toml"
}

answer version install run "$@"
