#!/usr/bin/env bash
# aedes, a broker for Node.js, from npm. It has one thread, whatever it is given.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
modules=$cache_dir/aedes

version() {
    needs node 'Debian package nodejs'
    cmp -s "$brokers_dir/aedes/package-lock.json" "$modules/package-lock.json" ||
        die "aedes is not installed, or not as its package-lock.json says (scripts/bench --install)"
    node -p '"aedes " + JSON.parse(require("fs").readFileSync(process.argv[1])).version' "$modules/node_modules/aedes/package.json"
}

install() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then install_debian nodejs npm; fi
    mkdir -p "$modules"
    cp "$brokers_dir"/aedes/* "$modules"
    (cd "$modules" && npm ci --no-audit --no-fund --loglevel=error)
}

choices() {
    echo 'nagle: TCP_NODELAY off, as its documentation starts it'
    echo 'nodelay: TCP_NODELAY on'
}

transports() { echo tls mutual; }

run() {
    if [ "$as_shipped" = yes ]; then choice=as-shipped; fi
    exec node "$modules/server.js" "$1" "$choice"
}

answer version install run "$@"
