#!/usr/bin/env bash
# nats-server with MQTT, as Debian packages it. Its MQTT stands on JetStream, which keeps sessions, retained messages and
# everything at QoS 1 and 2 in files: there is no other way, so those cells include its disk. It has no QoS 2.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH=$PATH:/usr/sbin

version() {
    needs nats-server 'Debian package nats-server'
    nats-server --version | sed -E 's/: v/ /'
}

install() {
    command -v nats-server >/dev/null || install_debian nats-server
}

run() {
    # MQTT needs a server name, and a NATS listener of its own: -1 lets the kernel choose its port.
    cat >"$2/nats.conf" <<CONF
server_name: bench
host: 127.0.0.1
port: -1
max_connections: 1000000
max_pending: 1GB
jetstream { store_dir: "$2/jetstream", max_memory_store: 4GB, max_file_store: 8GB }
mqtt { host: 127.0.0.1, port: $1, max_ack_pending: 1024 }
CONF
    GOMAXPROCS=$threads exec nats-server -c "$2/nats.conf" -l "$2/log"
}

answer version install run "$@"
