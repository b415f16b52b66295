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
    cargo build --release --locked --bin dunlin --manifest-path "$repository_dir/Cargo.toml"
}

run() {
    cd "$2"
    # As `scripts/start` runs it.
    if [ "$as_shipped" = yes ]; then exec "$dunlin" --port "$1"; fi
    exec "$dunlin" --port "$1" --shards "$threads" --log-level warn --sys-interval off \
        --max-inflight 1000 --max-queued-messages 10000000 --max-queued-bytes 1GiB --outbox-max-bytes 64MiB
}

answer version install run "$@"
