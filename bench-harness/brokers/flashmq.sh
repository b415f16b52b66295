#!/usr/bin/env bash
# FlashMQ, by the program that FLASHMQ names, or where --install says that it is looked for.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
flashmq=${FLASHMQ:-$cache_dir/bin/flashmq}

version() {
    [ -x "$flashmq" ] || die "flashmq is not installed ($flashmq is not there; flashmq.sh --install says how to get it)"
    "$flashmq" --version | sed -nE '1s/^FlashMQ Version ([^ ]+).*/flashmq \1/p'
}

install() {
    [ -x "$flashmq" ] || die "FlashMQ is in no registry of packages. Compile it from https://github.com/halfgaar/FlashMQ (cmake" \
        "-DCMAKE_BUILD_TYPE=Release, some minutes), and put the program at $flashmq or name it by FLASHMQ"
}

choices() {
    echo 'nagle: TCP_NODELAY off, as it ships'
    echo 'nodelay: TCP_NODELAY on'
}

transports() { echo tls mutual ws wss; }

run() {
    local protocol=mqtt nodelay=false
    case $transport in ws | wss) protocol=websockets ;; esac
    [ "$choice" != nodelay ] || nodelay=true
    {
        printf 'listen {\n  protocol %s\n  port %s\n  inet_protocol ip4\n  inet4_bind_address 127.0.0.1\n' "$protocol" "$1"
        [ "$as_shipped" = yes ] || echo "  tcp_nodelay $nodelay"
        case $transport in
            tls | mutual | wss) printf '  fullchain %s\n  privkey %s\n' "$tls_cert" "$tls_key" ;;
        esac
        [ "$transport" != mutual ] || echo "  client_verification_ca_file $tls_ca"
        echo '}'
        # Without the second it takes an empty name for one that nobody has.
        printf 'allow_anonymous true\nzero_byte_username_is_anonymous true\n'
    } >"$2/flashmq.conf"
    if [ "$as_shipped" = no ]; then
        cat >>"$2/flashmq.conf" <<CONF
thread_count $threads
max_qos_msg_pending_per_client 65535
max_qos_bytes_pending_per_client 4294967295
client_max_write_buffer_size 104857600
retained_messages_node_limit 4294967295
overload_mode log
log_level warning
CONF
    fi
    exec "$flashmq" -c "$2/flashmq.conf"
}

answer version install run "$@"
