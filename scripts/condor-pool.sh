#!/usr/bin/env bash
# A real HTCondor pool for tests on one Debian machine, without systemd or docker: Debian sid's own
# package in a root file system of its own, on loopback, with two schedds; jobs in containers run by
# apptainer. `make condor` installs and starts it.
#
#   condor-pool.sh install           the pool's root file system; from its kept copy in seconds
#   condor-pool.sh start | stop      a pool that runs is left alone, but takes a new configuration
#   condor-pool.sh status            what runs; exit 1 if nothing does
#   condor-pool.sh check [PYTHON]    a job from outside to each schedd; PYTHON has PyPI's htcondor
#   condor-pool.sh env               what a client outside of the pool needs, for `eval`
#   condor-pool.sh put FILE…         copies pilots and images to where jobs find them, EWMS_POOL_SHARED
#   condor-pool.sh run COMMAND…      runs a command in the pool's root: condor_q, condor_hold, …
#   condor-pool.sh pid DAEMON        the process of schedd, schedd2, collector, … (for tests that kill)
#   condor-pool.sh token IDENTITY    prints an IDTOKEN, for `nobody@ewms.test` say
#   condor-pool.sh remove            stops it and deletes it, but not the kept copy
#
# EWMS_POOL_HOME is where it lives (/opt/ewms-htcondor), EWMS_CACHE where the copy is kept
# (/var/cache/ewms). Needs root. The first installation takes a minute or two and 1 GB, and the
# network to Debian's mirror. Ends only what it started.

# `sh condor-pool.sh` goes on in bash.
if [ -z "${BASH_VERSION:-}" ] || shopt -oq posix; then exec bash "$0" "$@"; fi
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/debian.sh
. "$here/debian.sh"

home=${EWMS_POOL_HOME:-/opt/ewms-htcondor}
# The release whose HTCondor is the same major version as the bindings on PyPI.
suite=sid
major=25
root=$home/rootfs
work=$home/work      # at this path inside and outside of the pool: event logs, jobs' files
shared=$work/shared  # images and programs that jobs use where they are
port=9618            # the collector's, and by it everybody's
account=ewms         # owns all jobs; our token maps to it
account_id=4242      # of the account, inside and outside
log=$home/install.log
copy=$cache/condor-root-$suite-$major.tar
schedds=(ewms-schedd@localhost ewms-schedd2@localhost)
unset CONDOR_CONFIG # a client's, which the daemons must not inherit

inside() {
    unshare --mount --propagation private sh "$here/condor/inside.sh" "$root" "$work" "$@"
}

is_installed() { [[ -x $root/usr/sbin/condor_master && -e $root/.ewms-complete ]]; }

installed_version() { inside condor_version | sed -n 's/.*CondorVersion: \([0-9.]*\).*/\1/p'; }

install_pool() {
    need_root
    need_namespaces
    mkdir -p "$home" "$work"
    chmod 1777 "$work"
    make_account
    if [[ -x $root/usr/sbin/condor_master ]] && is_running; then
        : # Somebody uses it: whatever made it, it is complete.
    elif ! is_installed; then
        if ! take_copy; then
            say "from Debian's mirror, a minute or two; what is done is in $log"
            # In a shell of its own: `||` would have this one go on after each failure.
            ("$BASH" "$0" make-root) >"$log" 2>&1 || die_with "the installation failed" "$log"
            keep_copy
        fi
    fi
    agree_on_account
    configure
    local version
    version=$(installed_version)
    # sid moves every day; what must agree is the major version, since the protocol follows it.
    [[ ${version%%.*} == "$major" ]] ||
        die "$root has HTCondor $version and not $major.x: $0 remove; rm $copy; $0 install"
    say "installed: HTCondor $version in $root"
}

# The pool's files must belong to somebody whom both sides know by the same number.
make_account() {
    id "$account" >/dev/null 2>&1 ||
        useradd --create-home --uid "$account_id" "$account" 2>/dev/null ||
        useradd --create-home "$account" # the number is another one's
}

# A copy may come from a machine on which the account had another number.
agree_on_account() {
    local number
    number=$(id -u "$account")
    [[ $(awk -F: -v name="$account" '$1 == name {print $3}' "$root/etc/passwd") == "$number" ]] ||
        inside usermod --uid "$number" "$account"
}

# The root from its copy; nothing of one that is torn is left.
take_copy() {
    [[ -s $copy ]] || return 1
    say "from the copy $copy"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    if tar -xpf "$copy" -C "$root" --numeric-owner && is_installed; then
        return
    fi
    say "the copy is not whole; it is made anew"
    rm -rf --one-file-system "$root" "$copy"
    return 1
}

# Everything here runs in mount namespaces of its own.
need_namespaces() {
    unshare --mount true 2>/dev/null ||
        die "needs the right to make mount namespaces (in a container: --privileged)"
}

make_root() {
    need debootstrap debootstrap
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase "$suite" "$root" "$(debian_mirror)"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # Packages start no services in there.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    inside env DEBIAN_FRONTEND=noninteractive \
        apt-get install -yq --no-install-recommends minicondor apptainer
    inside apt-get clean
    inside useradd --create-home --uid "$(id -u "$account")" "$account"
    adapt_apptainer "$root/etc/apptainer/apptainer.conf"
    # The startd proves by this image that containers work, and advertises them only then.
    inside sh -c 'cd /usr/libexec/condor &&
        { [ -e exit_37.sif ] || apptainer build exit_37.sif singularity_test_sandbox; }'
    touch "$root/.ewms-complete"
}

keep_copy() {
    mkdir -p "$cache"
    # Under another name first: a copy that was interrupted is none.
    tar -cf "$copy.new" -C "$root" --numeric-owner --one-file-system \
        --exclude=./var/cache/apt --exclude=./var/lib/apt/lists . && mv "$copy.new" "$copy"
}

# The daemons' configuration. What runs takes it over without a restart.
configure() {
    local target=$root/etc/condor/config.d/99-ewms wanted
    # What sites have in /cvmfs is here in $shared: containers see it, too.
    wanted=$(sed "s|@SHARED@|$shared|g" "$here/condor/pool.conf")
    # The second schedd's queue: the package brings the folder of the first one only.
    inside install -d -o condor -g condor /var/spool/condor /var/spool/condor2
    printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$root/etc/hosts"
    if [[ $wanted != "$(cat "$target" 2>/dev/null)" ]]; then
        printf '%s\n' "$wanted" >"$target"
        if is_running; then
            say "the running pool takes the new configuration"
            inside condor_reconfig >/dev/null
        fi
    fi
}

# The process must also be what its file says: numbers are used again after a restart.
is_running() {
    local pid
    pid=$(cat "$home/master.pid" 2>/dev/null) &&
        [[ $(cat "/proc/$pid/comm" 2>/dev/null) == condor_master ]]
}

# Everything that has to be there before a job can run: both schedds and a slot.
is_ready() { [[ -z $(lacking) ]]; }

# What of it is not there yet, in words; nothing once all is.
lacking() {
    local found schedd
    found=$(inside condor_status -schedd -af Name 2>/dev/null) || {
        printf 'the collector does not answer\n'
        return
    }
    for schedd in "${schedds[@]}"; do
        grep -qxF "$schedd" <<<"$found" || printf 'no %s\n' "$schedd"
    done
    [[ -n $(inside condor_status -startd -af Name 2>/dev/null) ]] || printf 'no slot\n'
}

# What becomes the master is not called so in its first moments.
is_gone() { ! kill -0 "$(cat "$home/master.pid")" 2>/dev/null; }

is_ready_or_gone() { is_gone || is_ready; }

# Why it did not come up: what is lacking, and the last words of whoever would know.
explain_failure() {
    local words logs=("$home/master.log" "$root/var/log/condor/MasterLog")
    words=$(lacking | paste -sd, -)
    ! is_gone || words="the master has ended; $words"
    case $words in
        *schedd*) logs+=("$root/var/log/condor/SchedLog" "$root/var/log/condor/SchedLog.2") ;;
        *slot*) logs+=("$root/var/log/condor/StartLog") ;;
        *collector*) logs+=("$root/var/log/condor/CollectorLog") ;;
    esac
    die_with "the pool did not come up: $words" "${logs[@]}"
}

# die_with WORDS LOG…: with the last lines of each log, for who reads nothing but this.
die_with() {
    local words=$1 file
    shift
    for file in "$@"; do
        [[ -s $file ]] || continue
        printf '%s\n' "--- the end of $file" >&2
        tail -n 15 "$file" >&2
    done
    die "$words"
}

start_pool() {
    need_root
    need_namespaces
    is_installed || [[ -x $root/usr/sbin/condor_master ]] || die "not installed: $0 install"
    mkdir -p "$work"
    chmod 1777 "$work"
    make_account
    configure
    if ! is_running; then
        ! port_is_taken || die "port $port is taken, by another pool or what is left of one"
        setsid unshare --mount --propagation private sh "$here/condor/inside.sh" "$root" "$work" \
            /usr/sbin/condor_master -f >"$home/master.log" 2>&1 </dev/null &
        printf '%s\n' "$!" >"$home/master.pid"
    fi
    if ! wait_until 60 is_ready_or_gone || is_gone; then explain_failure; fi
    prepare_client
    say "running: collector 127.0.0.1:9618, schedds ${schedds[*]}"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

# wait_until SECONDS CONDITION…
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.5
    done
}

# What a program outside of the pool needs: a token for the account, and a configuration.
prepare_client() {
    mkdir -p "$home/tokens" "$home/client-log" "$shared"
    chmod 700 "$home/tokens"
    if [[ ! -s $home/tokens/$account ]]; then
        (umask 077 && make_token "$account@ewms.test" >"$home/tokens/$account")
    fi
    cat >"$home/client.conf" <<CONF
# Written by condor-pool.sh.
COLLECTOR_HOST = 127.0.0.1
SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS
SEC_TOKEN_DIRECTORY = $home/tokens
TRUST_DOMAIN = ewms.test
UID_DOMAIN = ewms.test
FILESYSTEM_DOMAIN = ewms.test
ENABLE_IPV6 = False
LOG = $home/client-log
# Images below these are used where they are; others travel with the job.
CONTAINER_SHARED_FS = /cvmfs, $shared
CONF
}

make_token() { inside condor_token_create -identity "$1"; }

stop_pool() {
    need_root
    is_running || { say "not running"; return; }
    kill "$(cat "$home/master.pid")"
    # Jobs are given some time to end; then they are ended.
    if ! wait_until 30 is_stopped; then
        kill -QUIT "$(cat "$home/master.pid")"
        wait_until 20 is_stopped || die "the pool does not stop"
    fi
    rm -f "$home/master.pid"
    say "stopped"
}

is_stopped() { ! is_running; }

show_status() {
    is_running || { say "not running"; exit 1; }
    inside condor_status -schedd
    inside condor_status
}

# The master's child that is the daemon of this name.
daemon_pid() {
    is_running || die "not running"
    local name=$1 program pid
    program=condor_${name%2}
    for pid in $(pgrep -P "$(cat "$home/master.pid")" -x "${program:0:15}"); do
        case $name:$(tr '\0' ' ' <"/proc/$pid/cmdline") in
            *2:*"-local-name SCHEDD2"*) ;;
            *2:* | *:*"-local-name"*) continue ;;
        esac
        printf '%s\n' "$pid"
        return
    done
    die "no $name runs"
}

put_files() {
    mkdir -p "$shared"
    local file
    for file in "$@"; do
        # Anew and under another name first: a job may be using the one that is there.
        rm -rf "$shared/.new"
        cp -a "$file" "$shared/.new"
        rm -rf "${shared:?}/$(basename "$file")"
        mv "$shared/.new" "$shared/$(basename "$file")"
        chmod -R a+rX "$shared/$(basename "$file")"
    done
}

show_env() {
    printf 'export CONDOR_CONFIG=%s\n' "$home/client.conf"
    printf 'export EWMS_POOL_WORK=%s\n' "$work"
    printf 'export EWMS_POOL_SHARED=%s\n' "$shared"
    printf 'export EWMS_POOL_SCHEDD=%s\n' "${schedds[0]}"
    printf 'export EWMS_POOL_SCHEDD2=%s\n' "${schedds[1]}"
}

# With the bindings that the caller has, or with ones fetched for this alone.
check_pool() {
    local python=${1:-$home/bindings/bin/python}
    if [[ -z ${1:-} && ! -x $python ]]; then
        python3 -m venv "$home/bindings"
        "$home/bindings/bin/pip" install -q --disable-pip-version-check "htcondor==$major.*"
    fi
    local settings
    settings=$(show_env)
    (eval "$settings" && exec "$python" "$here/condor/try_pool.py")
}

remove_pool() {
    stop_pool
    # Another script's bind mounts below it must not be emptied: only this file system.
    rm -rf --one-file-system "$home"
}

case ${1:-} in
    install) install_pool ;;
    start) start_pool ;;
    stop) stop_pool ;;
    status) show_status ;;
    check) check_pool "${2:-}" ;;
    env) show_env ;;
    put)
        shift
        put_files "$@"
        ;;
    run)
        shift
        inside "$@"
        ;;
    pid) daemon_pid "${2:?DAEMON}" ;;
    make-root) make_root ;; # a step of `install`
    token) make_token "${2:?IDENTITY}" ;;
    remove) remove_pool ;;
    *)
        sed -n '2,/^$/{/^#/s/^# \{0,1\}//p}' "$0"
        exit 2
        ;;
esac
