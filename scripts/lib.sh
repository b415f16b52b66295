# shellcheck shell=bash
# What the scripts share: finding the repository, and installing what is missing, once.
#
# Everything here may be run again at no cost: each function looks first and installs only what it did not find. Nothing
# is done as root but `apt-get`, and nothing is installed outside the user's Rust toolchain and the repository itself.

repository_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# How scripts that start programs of this repository compile them: `release`, as users get them, or `dev`, as tests do.
profile=${PROFILE:-release}

# The folder below target/ in which cargo puts what it compiles by `profile`.
profile_folder() {
    if [ "$profile" = dev ]; then echo debug; else echo "$profile"; fi
}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# Prints the comment that the calling script opens with, if one of its arguments asks for help: whoever asks does not want to
# wait for a compiler. Returns whether one does.
helps() {
    local argument
    for argument in "$@"; do
        case $argument in
            -h | --help)
                sed -nE '2,/^set /{ /^set /d; s/^# ?//; p; }' "${BASH_SOURCE[1]}"
                return
                ;;
        esac
    done
    return 1
}

# Runs a command as root: as it is for root, through sudo for everyone else.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for: $* (neither root nor sudo is there; run that command yourself, then this script again)"
    fi
}

# ensure_packages PACKAGE...: installs Debian packages. The caller names only what it found to be missing.
ensure_packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "missing: $* (names of Debian packages; this machine has no apt-get, so install their like by hand)"
    say "installing Debian packages: $*"
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

# The oldest Rust that Cargo.toml admits.
rust_version_wanted() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repository_dir/Cargo.toml" | head -n 1
}

# Whether `cargo` is there and new enough. Distributions ship one that is years older than what edition 2024 needs.
rust_is_usable() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    local have wanted
    have=$(cd "$repository_dir" && rustc --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    wanted=$(rust_version_wanted)
    [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ]
}

# What it takes to compile: a C compiler and make (mimalloc and glommio's liburing are C), perl, and Rust.
ensure_build_tools() {
    local missing=()
    command -v cc >/dev/null && command -v make >/dev/null || missing+=(build-essential)
    # OpenSSL is configured by it, which is below Kafka's client. (perl-base lacks these modules.)
    perl -MFindBin -MIPC::Cmd -e 1 2>/dev/null || missing+=(perl)
    ensure_packages "${missing[@]}"

    # A toolchain that rustup installed earlier is not on the PATH of a shell that was open before.
    if ! rust_is_usable && [ -f "${CARGO_HOME:-$HOME/.cargo}/env" ]; then
        # shellcheck disable=SC1091
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    rust_is_usable && return 0
    if command -v rustup >/dev/null; then
        say "updating Rust: $(rust_version_wanted) or newer is needed"
        rustup toolchain install stable --profile minimal --component rustfmt --component clippy >&2
        rustup default stable >&2
    else
        command -v curl >/dev/null || ensure_packages curl ca-certificates
        say "installing Rust with rustup into ${CARGO_HOME:-$HOME/.cargo}"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --profile minimal --component rustfmt --component clippy >&2
        # shellcheck disable=SC1091
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    rust_is_usable || die "Rust $(rust_version_wanted) or newer is needed, and installing it did not bring it"
}

# install_node FOLDER: the npm packages that its package-lock.json pins, made anew when that has changed.
install_node() {
    local folder=$1
    cmp -s "$folder/package-lock.json" "$folder/node_modules/made-from.json" && return 0
    command -v npm >/dev/null || ensure_packages nodejs npm
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error >&2)
    cp "$folder/package-lock.json" "$folder/node_modules/made-from.json"
}
