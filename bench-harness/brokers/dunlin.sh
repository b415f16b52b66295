#!/usr/bin/env bash
# dunlin as this repository builds it in release: DUNLIN names the binary.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
dunlin=${DUNLIN:-$repository_dir/target/release/dunlin}

version() {
    [ -x "$dunlin" ] || die "$dunlin is not built (scripts/bench builds it)"
    "$dunlin" --version
}

install() {
    cargo build --release --locked --workspace --bin dunlin --manifest-path "$repository_dir/Cargo.toml"
}

transports() { echo tls mutual ws wss; }

passwords() {
    if [ $# -eq 0 ]; then echo argon2id && return; fi
    copy_plain "$1" "$2"
    "$dunlin" passwd -U "$2"
}

storages() { printf '%s\n' memory disk; }

run() {
    cd "$2"
    # As `scripts/start` runs it, in a directory of its own.
    if [ "$as_shipped" = yes ]; then exec "$dunlin" --port "$1" --data-dir data; fi
    local listening=(--port "$1")
    if [ "$transport" != tcp ]; then
        listening=(--config "$2/dunlin.toml")
        {
            echo '[[listener]]'
            case $transport in tls | mutual) echo 'kind = "tls"' ;; *) echo "kind = \"$transport\"" ;; esac
            printf 'bind = "127.0.0.1"\nport = %s\n' "$1"
            if [ "$transport" != ws ]; then printf 'tls_cert = "%s"\ntls_key = "%s"\n' "$tls_cert" "$tls_key"; fi
            if [ "$transport" = mutual ]; then printf 'tls_ca = "%s"\ntls_client_cert = "required"\n' "$tls_ca"; fi
        } >"$2/dunlin.toml"
    fi
    # On loopback it lets those in besides who show no name.
    if [ -n "$password_file" ]; then listening+=(--password-file "$password_file"); fi
    local keeping=(--storage memory)
    if [ "$storage" = disk ]; then keeping=(--storage disk --data-dir data); fi
    exec "$dunlin" "${listening[@]}" "${keeping[@]}" --shards "$threads" --log-level warn --sys-interval off \
        --max-inflight 1000 --max-queued-messages 10000000 --max-queued-bytes 1GiB --outbox-max-bytes 64MiB
}

answer version install run "$@"
