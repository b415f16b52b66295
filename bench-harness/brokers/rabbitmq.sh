#!/usr/bin/env bash
# RabbitMQ with its MQTT plugin, as this system's Debian packages it: 3.10 in Debian 12, 4.0 in Debian 13. sid has 4.3, which cannot
# be run beside the system: Erlang starts programs of its own that want the C library of sid. QoS 2 is served as QoS 1. One scheduler a core. As root it would give
# up its rights to the user rabbitmq, whom DATA_DIR does not belong to, so the script calls what the wrapper calls.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
home=/usr/lib/rabbitmq

version() {
    [ -x $home/bin/rabbitmq-server ] || die "rabbitmq-server is not installed (Debian package rabbitmq-server)"
    basename $home/lib/rabbitmq_server-* | sed 's/_server-/ /'
}

install() {
    [ -x $home/bin/rabbitmq-server ] || install_debian rabbitmq-server
}

transports() { echo tls mutual; }

# Sessions that stay have quorum queues then: what is confirmed has been synced.
storages() { printf '%s\n' memory disk; }

run() {
    local kind=tcp
    if [ "$transport" != tcp ]; then kind=ssl; fi
    cat >"$2/rabbitmq.conf" <<CONF
listeners.tcp = none
mqtt.listeners.$kind.1 = 127.0.0.1:$1
mqtt.allow_anonymous = true
mqtt.default_user = guest
mqtt.default_pass = guest
log.console = false
CONF
    if [ "$storage" = disk ]; then echo 'mqtt.durable_queue_type = quorum' >>"$2/rabbitmq.conf"; fi
    if [ $kind = ssl ]; then
        cat >>"$2/rabbitmq.conf" <<CONF
mqtt.listeners.tcp = none
ssl_options.certfile = $tls_cert
ssl_options.keyfile = $tls_key
ssl_options.cacertfile = $tls_ca
CONF
    fi
    if [ "$transport" = mutual ]; then
        printf 'ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n' >>"$2/rabbitmq.conf"
    fi
    if [ "$as_shipped" = no ]; then
        # TCP_NODELAY is on, as it ships.
        cat >>"$2/rabbitmq.conf" <<CONF
mqtt.prefetch = 1000
mqtt.tcp_listen_options.backlog = 4096
mqtt.tcp_listen_options.nodelay = true
log.file.level = error
vm_memory_high_watermark.relative = 0.5
CONF
        export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S $threads:$threads +SDcpu $threads +SDio 1 +A 1 +sbwt none +P 1048576 +Q 65536"
    fi
    echo '[rabbitmq_mqtt].' >"$2/enabled_plugins"
    # Erlang's name service is a daemon. As a child of this script it ends with the broker. Its port and the next one lie below
    # those that the system gives to the load's connections, one of which may have had any other a moment ago.
    export ERL_EPMD_PORT=$((20000 + $1 % 6000 * 2)) ERL_EPMD_ADDRESS=127.0.0.1
    epmd -port $ERL_EPMD_PORT -address 127.0.0.1 &
    export HOME=$2 RABBITMQ_BASE=$2 RABBITMQ_NODENAME=bench-$1@localhost RABBITMQ_CONFIG_FILE=$2/rabbitmq.conf
    export RABBITMQ_ENABLED_PLUGINS_FILE=$2/enabled_plugins RABBITMQ_MNESIA_BASE=$2/mnesia RABBITMQ_LOG_BASE=$2/log
    export RABBITMQ_PID_FILE=$2/pid RABBITMQ_NODE_PORT='' RABBITMQ_DIST_PORT=$((ERL_EPMD_PORT + 1))
    export ERL_CRASH_DUMP=$2/erl_crash.dump RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_FEATURE_FLAGS_FILE=$2/feature_flags
    exec $home/bin/rabbitmq-server
}

answer version install run "$@"
