# shellcheck shell=bash
# How packages are laid out: the Debian packages, the archive, the container image. Sourced by scripts/package, which sets
# `work_dir` with the programs in bin/, `output`, `version`, `machine`, `debian_machine`, `image_machine` and
# SOURCE_DATE_EPOCH.
#
# Always holds: what is packed depends on the commit alone. Owners are numbers, times are the commit's, names are sorted.
# shellcheck disable=SC2154

packaging_dir=$repository_dir/packaging
maintainer='The dunlin developers <dunlin-mqtt@users.noreply.github.com>'

# What every package carries beside the programs, into `work_dir`/documents, and what the broker says of itself: manual pages and
# completions.
gather_documents() {
    local documents=$work_dir/documents shell command
    mkdir -p "$documents/docs" "$documents/dashboards" "$work_dir/completions" "$work_dir/man"
    cp README.md CHANGELOG.md SECURITY.md PERFORMANCE.md LICENSE "$documents"
    cp docs/*.md docs/dunlin.toml "$documents/docs"
    cp dashboards/* "$documents/dashboards"
    python3 "$packaging_dir/third_party.py" "$machine-unknown-linux-gnu" >"$documents/THIRD-PARTY.txt"
    command -v help2man >/dev/null || ensure_packages help2man
    manual_of loadtest 'load generator for MQTT brokers'
    for command in $(run_program loadtest --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p'); do
        manual_of loadtest "$(run_program loadtest "$command" --help | head -n 1)" "$command"
    done
    for shell in bash zsh fish; do
        run_program dunlin completions "$shell" >"$work_dir/completions/dunlin.$shell"
    done
    run_program dunlin man --dir "$work_dir/man"
    # Of `dunlin help` and the like: they say what the others say.
    rm -f "$work_dir/man/"*-help*.1
}

# manual_of NAME WHAT [COMMAND]: the manual page of a program, or of one of its commands, made of its --help.
manual_of() {
    local name=$1 what=$2
    shift 2
    local page=$name${1:+-$1}
    run_program "$name" "$@" --help >"$work_dir/help"
    run_program "$name" --version | sed "1s/^$name /$page /" >"$work_dir/version"
    printf '#!/bin/sh\ncat "%s/${1#--}"\n' "$work_dir" >"$work_dir/$page"
    chmod +x "$work_dir/$page"
    help2man --no-info --name "$what" --output "$work_dir/man/$page.1" "$work_dir/$page"
}

# run_program NAME ARGUMENT...: one of the programs that are packed, emulated where it is another machine's.
run_program() {
    local emulator=() name=$1
    shift
    if [ "$machine" != "$(uname -m)" ]; then
        command -v "qemu-$machine-static" >/dev/null || ensure_packages qemu-user-static
        emulator=("qemu-$machine-static")
    fi
    "${emulator[@]}" "$work_dir/bin/$name" "$@"
}

# settle DIRECTORY: times and modes that do not depend on when and by whom it was made.
settle() {
    find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

# --- the archive -------------------------------------------------------------------------------------------------------

pack_tar() {
    local name=dunlin-$version-$machine-linux
    local root=$work_dir/$name
    mkdir -p "$root"
    install -m 755 "$work_dir/bin/dunlin" "$work_dir/bin/loadtest" "$root"
    cp -r "$work_dir/documents/." "$root"
    install -m 644 "$packaging_dir/dunlin.toml" "$packaging_dir/systemd/dunlin.service" "$root"
    install -D -m 644 "$packaging_dir/seccomp.json" "$root/packaging/seccomp.json"
    python3 "$packaging_dir/links.py" "$root"
    [ -z "$(ls "$work_dir/completions")" ] || cp -r "$work_dir/completions" "$root"
    [ -z "$(ls "$work_dir/man")" ] || cp -r "$work_dir/man" "$root"
    settle "$root"
    tar --create --directory "$work_dir" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
        --mode=go=rX,u+rw --mtime="@$SOURCE_DATE_EPOCH" "$name" | gzip -9n >"$output/$name.tar.gz"
}

# --- Debian packages ---------------------------------------------------------------------------------------------------

pack_deb() {
    command -v dpkg-deb >/dev/null || die "dpkg-deb is missing: Debian packages are built on Debian, Ubuntu and the like"
    local root=$work_dir/deb-broker
    install -D -m 755 "$work_dir/bin/dunlin" "$root/usr/bin/dunlin"
    install -D -m 644 "$packaging_dir/dunlin.toml" "$root/etc/dunlin/dunlin.toml"
    install -D -m 644 "$packaging_dir/systemd/dunlin.service" "$root/lib/systemd/system/dunlin.service"
    install -D -m 644 "$packaging_dir/debian/dunlin.logrotate" "$root/etc/logrotate.d/dunlin"
    install -d "$root/var/lib/dunlin"
    install_manuals "$root" dunlin
    install_completions "$root"
    local documents=$root/usr/share/doc/dunlin
    mkdir -p "$documents"
    cp -r "$work_dir/documents/docs" "$work_dir/documents/dashboards" "$documents"
    install -m 644 README.md SECURITY.md PERFORMANCE.md "$documents"
    python3 "$packaging_dir/links.py" "$documents"
    debian_package dunlin "$root" <<END
Depends: adduser, procps$(libraries_of "$root/usr/bin/dunlin")
Recommends: openssl
Suggests: dunlin-loadtest, mosquitto-clients, logrotate
Provides: mqtt-broker
Description: MQTT broker for large fleets of devices
 dunlin speaks MQTT 3.1, 3.1.1 and 5.0, over TCP, TLS, WebSocket and Unix
 sockets. One process uses every core: each client lives on one of them, its
 socket on that core's own io_uring ring. What it acknowledges is on stable
 storage. Users, access rules, tokens, metrics for Prometheus and an admin API
 are built in.
 .
 It needs Linux 6.1 or newer with io_uring allowed.
END
    root=$work_dir/deb-loadtest
    install -D -m 755 "$work_dir/bin/loadtest" "$root/usr/bin/loadtest"
    install_manuals "$root" loadtest
    mkdir -p "$root/usr/share/doc/dunlin-loadtest"
    install -m 644 docs/LOADTEST.md "$root/usr/share/doc/dunlin-loadtest"
    debian_package dunlin-loadtest "$root" <<END
Depends: $(libraries_of "$root/usr/bin/loadtest" | sed 's/^, //')
Description: load generator for MQTT brokers
 loadtest drives any MQTT broker with publishers and subscribers of one clock,
 keeps to an open-loop schedule, and ends with a verdict on every message: what
 was lost, what came twice or out of order, and how late the rest was.
END
}

# debian_package NAME ROOT: makes a package of what is in ROOT. Its own fields of the control file come from standard input.
debian_package() {
    local name=$1 root=$2 documents=$2/usr/share/doc/$1 size
    mkdir -p "$root/DEBIAN"
    install -m 644 "$packaging_dir/debian/copyright" "$documents/copyright"
    gzip -9n <"$work_dir/documents/THIRD-PARTY.txt" >"$documents/THIRD-PARTY.txt.gz"
    gzip -9n <CHANGELOG.md >"$documents/changelog.gz"
    printf '%s (%s-1) unstable; urgency=medium\n\n  * What changed stands in changelog.gz.\n\n -- %s  %s\n' \
        "$name" "$version" "$maintainer" "$(LC_ALL=C date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")" |
        gzip -9n >"$documents/changelog.Debian.gz"
    if [ -f "$packaging_dir/debian/$name.lintian-overrides" ]; then
        install -D -m 644 "$packaging_dir/debian/$name.lintian-overrides" "$root/usr/share/lintian/overrides/$name"
    fi
    if [ "$name" = dunlin ]; then
        install -m 755 "$packaging_dir/debian/postinst" "$packaging_dir/debian/prerm" "$packaging_dir/debian/postrm" "$root/DEBIAN"
        printf '/etc/dunlin/dunlin.toml\n/etc/logrotate.d/dunlin\n' >"$root/DEBIAN/conffiles"
    fi
    size=$(du --apparent-size -sk --exclude=DEBIAN "$root" | cut -f 1)
    {
        printf 'Package: %s\nSource: dunlin\nVersion: %s-1\nArchitecture: %s\n' "$name" "$version" "$debian_machine"
        printf 'Maintainer: %s\nInstalled-Size: %s\nSection: net\nPriority: optional\n' "$maintainer" "$size"
        printf 'Homepage: https://github.com/dunlin-mqtt/dunlin\n'
        grep -v '^Depends: *$'
    } >"$root/DEBIAN/control"
    (cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
    chmod 644 "$root/DEBIAN/control" "$root/DEBIAN/md5sums"
    settle "$root"
    # One thread: the bytes must not depend on how many cores there are.
    DPKG_DEB_THREADS_MAX=1 dpkg-deb --root-owner-group -Zxz --build "$root" "$output/${name}_$version-1_$debian_machine.deb" >&2
}

# libraries_of PROGRAM: what it needs of the C library, as a part of Depends. Nothing where it was linked statically.
libraries_of() {
    local newest
    newest=$(objdump -T "$1" 2>/dev/null | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
    [ -z "$newest" ] || printf ', libc6 (>= %s), libgcc-s1' "$newest"
}

# install_completions ROOT: where shells look for them.
install_completions() {
    local root=$1
    [ ! -f "$work_dir/completions/dunlin.bash" ] ||
        install -D -m 644 "$work_dir/completions/dunlin.bash" "$root/usr/share/bash-completion/completions/dunlin"
    [ ! -f "$work_dir/completions/dunlin.zsh" ] ||
        install -D -m 644 "$work_dir/completions/dunlin.zsh" "$root/usr/share/zsh/vendor-completions/_dunlin"
    [ ! -f "$work_dir/completions/dunlin.fish" ] ||
        install -D -m 644 "$work_dir/completions/dunlin.fish" "$root/usr/share/fish/vendor_completions.d/dunlin.fish"
}

# install_manuals ROOT NAME: the pages whose names begin so.
install_manuals() {
    local root=$1 page
    mkdir -p "$root/usr/share/man/man1"
    for page in "$work_dir/man/$2"*.1; do
        gzip -9n <"$page" >"$root/usr/share/man/man1/${page##*/}.gz"
    done
}

# --- the container image -----------------------------------------------------------------------------------------------

# From nothing: the broker, its configuration, the account it runs as, the authorities that it trusts when it asks others
# over https. No shell, no package manager.
image_user=10001

pack_image() {
    command -v buildah >/dev/null || ensure_packages buildah
    [ -f /etc/ssl/certs/ca-certificates.crt ] || ensure_packages ca-certificates
    local root=$work_dir/image container archive=$output/dunlin-$version-$machine.image.tar
    [ -z "$(libraries_of "$work_dir/bin/dunlin")" ] || die "the image needs a broker that is linked statically: leave out --binaries"
    image_root "$root"
    container=$(image_tool from scratch)
    image_tool copy --chown "0:0" "$container" "$root/" / >/dev/null
    image_tool copy --chown "$image_user:$image_user" "$container" "$work_dir/image-state/" /var/lib/dunlin >/dev/null
    image_tool config --arch "$image_machine" --os linux --user "$image_user:$image_user" --workingdir / \
        --entrypoint '["/usr/bin/dunlin"]' --cmd '--config /etc/dunlin/dunlin.toml' --stop-signal SIGTERM \
        --port 1883/tcp --port 8883/tcp --port 8083/tcp --port 8084/tcp --port 18083/tcp --volume /var/lib/dunlin \
        --env DUNLIN_ADMIN__SOCKET=/var/lib/dunlin/admin.sock \
        --healthcheck 'CMD /usr/bin/dunlin healthcheck --ready' --healthcheck-interval 10s --healthcheck-timeout 3s \
        --healthcheck-start-period 60s --healthcheck-retries 3 \
        --label org.opencontainers.image.title=dunlin --label "org.opencontainers.image.version=$version" \
        --label org.opencontainers.image.licenses=Apache-2.0 \
        --label org.opencontainers.image.source=https://github.com/dunlin-mqtt/dunlin "$container"
    # The docker format: OCI's own has no HEALTHCHECK.
    image_tool commit --quiet --rm --format docker --timestamp "$SOURCE_DATE_EPOCH" "$container" \
        "docker-archive:$work_dir/image.tar:dunlin:$version" >/dev/null
    python3 "$packaging_dir/settle_image.py" "$work_dir/image.tar" "$archive"
}

# buildah with storage of its own that goes with this script, and without anything that would have to be run.
image_tool() {
    buildah --root "$work_dir/storage" --runroot "$work_dir/storage-run" --storage-driver vfs "$@"
}

# image_root DIRECTORY: the files of the image.
image_root() {
    local root=$1
    install -D -m 755 "$work_dir/bin/dunlin" "$root/usr/bin/dunlin"
    install -D -m 644 "$packaging_dir/image/dunlin.toml" "$root/etc/dunlin/dunlin.toml"
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    install -D -m 644 LICENSE "$root/usr/share/doc/dunlin/LICENSE"
    install -m 644 "$work_dir/documents/THIRD-PARTY.txt" "$root/usr/share/doc/dunlin/THIRD-PARTY.txt"
    printf 'root:x:0:0::/:/none\ndunlin:x:%s:%s:dunlin MQTT broker:/var/lib/dunlin:/none\n' "$image_user" "$image_user" >"$root/etc/passwd"
    printf 'root:x:0:\ndunlin:x:%s:\n' "$image_user" >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    mkdir -p "$work_dir/image-state" "$root/tmp"
    chmod 1777 "$root/tmp"
    chmod 700 "$work_dir/image-state"
    settle "$root"
    settle "$work_dir/image-state"
}
