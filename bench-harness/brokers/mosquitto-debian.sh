#!/usr/bin/env bash
# Mosquitto as this system's Debian installs it: 2.0.11 in Debian 12, 2.0.21 in Debian 13. Most of those that run have this one.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=bench-harness/brokers/mosquitto.lib
. "$brokers_dir/mosquitto.lib"
PATH=$PATH:/usr/sbin

version() {
    needs mosquitto 'Debian package mosquitto'
    mosquitto_version ", the system's package"
}

install() {
    command -v mosquitto >/dev/null || install_debian mosquitto
}

answer version install run_mosquitto "$@"
