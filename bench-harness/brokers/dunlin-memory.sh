#!/usr/bin/env bash
# dunlin with its memory store in the cells where others keep messages on a disk: what the disk costs it is the difference.
# shellcheck source=bench-harness/brokers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version() { "$brokers_dir/dunlin.sh" --version | sed 's/$/, --storage memory/'; }

install() { "$brokers_dir/dunlin.sh" --install; }

storages() { echo 'disk: not synced: all in memory, to compare with'; }

run() { BENCH_STORAGE=memory exec "$brokers_dir/dunlin.sh" "$@"; }

answer version install run "$@"
