# shellcheck shell=bash
# What the tests of packages share: a machine that is thrown away, with systemd in it, and asking things of it.
#
# Always holds: the machine has no network but its own loopback, so its ports collide with nobody's, and nothing that is
# done in it is left on this one.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

scratch_dir=
machine_pid=

# begin: a folder for this test, on the disk: a data directory takes hundreds of megabytes.
begin() {
    [ "$(id -u)" -eq 0 ] || die "needs root, to mount and to start a machine: sudo $0"
    mkdir -p "$repository_dir/target"
    scratch_dir=$(mktemp -d "$repository_dir/target/test-packages.XXXXXX")
    trap finish EXIT
}

finish() {
    if [ -n "$machine_pid" ] && kill -0 "$machine_pid" 2>/dev/null; then
        # Its first process takes all others with it. SIGTERM would only have systemd start itself anew.
        kill -KILL "$(machine_leader)" 2>/dev/null || true
        sleep 0.5
        kill -KILL "$machine_pid" 2>/dev/null || true
        wait "$machine_pid" 2>/dev/null || true
    fi
    if mountpoint -q "$scratch_dir/root"; then umount --lazy "$scratch_dir/root"; fi
    rm -rf "$scratch_dir"
}

# failed TEXT: the end of a test that has found something.
failed() {
    say "FAILED: $*"
    exit 1
}

# make_root: a root for the machine in `scratch_dir`/root, with this machine's files below it, none of which can change.
make_root() {
    mkdir -p "$scratch_dir"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch_dir/upper,workdir=$scratch_dir/work" "$scratch_dir/root"
    # Containers say so here that nothing is to be started by packages. In the machine it is.
    rm -f "$scratch_dir/root/usr/sbin/policy-rc.d"
    rm -rf "$scratch_dir/root/etc/dunlin" "$scratch_dir/root/var/lib/dunlin"
}

# make_clean_root: the same from nothing but Debian's packages, as a user's machine has them.
make_clean_root() {
    local suite=${DEBIAN_SUITE:-bookworm} kept
    # What the packages depend on, systemd, and what documents use: the machine has no network to fetch it.
    local packages=adduser,procps,init-system-helpers,systemd,systemd-sysv,dbus,openssl,curl,logrotate,mosquitto-clients,python3-paho-mqtt,nodejs
    kept=$repository_dir/target/debian-root-$suite-$(cksum <<<"$packages" | cut -d ' ' -f 1).tar
    command -v debootstrap >/dev/null || ensure_packages debootstrap
    mkdir -p "$scratch_dir/root"
    if [ ! -f "$kept" ]; then
        debootstrap --variant=minbase "--include=$packages" "$suite" "$scratch_dir/root" >"$scratch_dir/debootstrap.log" 2>&1 ||
            { tail -n 20 "$scratch_dir/debootstrap.log"; failed "debootstrap $suite"; }
        tar --create --file "$kept.new" --directory "$scratch_dir/root" .
        mv "$kept.new" "$kept"
    else
        tar --extract --file "$kept" --directory "$scratch_dir/root"
    fi
    # An installer writes it, debootstrap does not.
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$scratch_dir/root/etc/hosts"
}

# can_boot: whether this machine lets another one be started in it: some containers do not.
can_boot() {
    mkdir -p "$scratch_dir"/probe/{upper,work,root}
    unshare --mount --uts --ipc --net --pid --fork \
        mount -t overlay overlay -o "lowerdir=/etc,upperdir=$scratch_dir/probe/upper,workdir=$scratch_dir/probe/work" "$scratch_dir/probe/root"
}

# boot: starts the machine. io_uring is allowed in it, which nspawn does not do by itself.
boot() {
    local i
    command -v systemd-nspawn >/dev/null || ensure_packages systemd-container
    # Nothing of this machine's own services: only what a test starts.
    SYSTEMD_SECCOMP=0 systemd-nspawn --quiet --directory "$scratch_dir/root" --register=no --keep-unit --private-network \
        --bind-ro "$repository_dir:/repository" --bind-ro "$scratch_dir:/scratch" --console=pipe --boot systemd.unit=basic.target \
        </dev/null >"$scratch_dir/console" 2>&1 &
    machine_pid=$!
    for ((i = 0; i < 300; i++)); do
        kill -0 "$machine_pid" 2>/dev/null || { cat "$scratch_dir/console"; failed "the machine ended while it started"; }
        if [[ $(inside systemctl is-system-running 2>/dev/null) =~ running|degraded ]]; then return 0; fi
        sleep 0.2
    done
    cat "$scratch_dir/console"
    failed "the machine did not start within a minute"
}

# The first process of the machine.
machine_leader() { pgrep -P "$machine_pid" | head -n 1; }

# inside COMMAND...: runs a command in the machine, as root.
inside() {
    local leader
    leader=$(machine_leader)
    [ -n "$leader" ] || return 1
    nsenter --target "$leader" --mount --uts --ipc --net --pid --root env --chdir=/ -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}
