#!/usr/bin/env bash
# Mosquitto, the newest that Debian packages: 2.1.2 in sid, unpacked beside the system (scripts/bench --install). The one that
# Debian 12 and 13 install is the broker `mosquitto-debian`: 2.0. It has one thread, whatever it is given.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=bench-harness/brokers/mosquitto.lib
. "$brokers_dir/mosquitto.lib"

mosquitto() { run_from_debian mosquitto-sid usr/sbin/mosquitto "$@"; }
mosquitto_passwd() { run_from_debian mosquitto-sid usr/bin/mosquitto_passwd "$@"; }

version() {
    [ -x "$cache_dir/mosquitto-sid/usr/sbin/mosquitto" ] || die "mosquitto of Debian sid is not installed (scripts/bench --install)"
    mosquitto_version ", Debian sid"
}

# Its libraries and their C library are all that comes with it. systemd-standalone-sysusers stands for all of systemd.
install() { install_from_debian sid mosquitto-sid mosquitto systemd-standalone-sysusers; }

answer version install run_mosquitto "$@"
