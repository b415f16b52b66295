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

transports() { echo tls ws wss; }

run() {
    local listener=listener.$transport.bench
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
$listener.addr = "127.0.0.1:$1"
$listener.allow_anonymous = true
CONF
    case $transport in
        tls | wss) printf '%s.cert = "%s"\n%s.key = "%s"\n' "$listener" "$tls_cert" "$listener" "$tls_key" >>"$2/rmqtt.toml" ;;
    esac
    cd "$2"
    # What is not named above is as it ships.
    if [ "$as_shipped" = yes ]; then exec "$cache_dir/bin/rmqttd" --config "$2/rmqtt.toml"; fi
    cat >>"$2/rmqtt.toml" <<CONF
log.level = "error"
node.busy.check_enable = false
mqtt.max_sessions = 0
$listener.workers = $threads
$listener.max_connections = 1024000
$listener.max_handshaking_limit = 100000
$listener.backlog = 4096
$listener.nodelay = $nodelay
$listener.min_keepalive = 0
$listener.allow_zero_keepalive = true
$listener.max_inflight = 1000
$listener.max_mqueue_len = 1000000
$listener.mqueue_rate_limit = "4294967295,1s"
$listener.max_qos_allowed = 2
$listener.retain_available = true
$listener.session_expiry_interval = "2h"
CONF
    TOKIO_WORKER_THREADS=$threads exec "$cache_dir/bin/rmqttd" --config "$2/rmqtt.toml"
}

answer version install run "$@"
