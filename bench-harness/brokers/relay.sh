#!/usr/bin/env bash
# No broker but the floor under all of them: `benches/relay`, which passes bytes on. RELAY names the binary.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
relay=${RELAY-}

version() {
    [ -x "$relay" ] || die "RELAY does not name the built relay (scripts/bench builds it)"
    echo "bare relay"
}

install() {
    : # scripts/bench builds it
}

run() {
    exec "$relay" --serve-mqtt "$1"
}

answer version install run "$@"
