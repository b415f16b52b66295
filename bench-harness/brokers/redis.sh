#!/usr/bin/env bash
# Redis as this system's Debian packages it: no broker, but what many put behind one to keep messages. Its append-only file is synced
# before anybody is answered, and never written anew while it is measured.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version() {
    needs redis-server 'Debian package redis-server'
    needs redis-benchmark 'Debian package redis-tools'
    redis-server --version | sed -E 's/^Redis server v=([^ ]+).*/redis \1, appendfsync always/'
}

# Its package starts a service, which takes nothing from a core that has nothing to ask of it.
install() {
    command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || install_debian redis-server redis-tools
}

storages() { echo disk; }

run() {
    exec redis-server --bind 127.0.0.1 --port "$1" --dir "$2" --daemonize no --save '' --loglevel warning \
        --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0
}

answer version install run "$@"
