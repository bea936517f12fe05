#!/usr/bin/env bash
# A PostgreSQL as an operator would have it, for tests and demonstrations: Debian's server, reached
# over TLS alone, with passwords and two roles (postgres/roles.sql), and PgBouncer in transaction
# mode before it. Both run on loopback, on ports and in a folder of their own, as an unprivileged
# account. `make postgres` installs and starts them.
#
#   postgres.sh install            Debian's packages; needs root and the network if they are missing
#   postgres.sh start | stop       makes the cluster when there is none yet
#   postgres.sh restart [MODE]     the server alone; MODE is pg_ctl's: fast, or immediate (a crash)
#   postgres.sh restart-pooler     PgBouncer alone
#   postgres.sh status             exit 1 if not both run
#   postgres.sh database NAME      makes a database with the rights of both roles
#   postgres.sh roles NAME         grants the roles again what they may do there
#   postgres.sh env [NAME]         settings of WMS and MQS for that database (ewms), for `eval`
#   postgres.sh env-pooled [NAME]  the same through PgBouncer
#   postgres.sh remove             stops both and deletes the folder
#
# EWMS_PG_HOME is the folder (/opt/ewms-postgres), EWMS_PG_PORT and EWMS_PG_POOLER_PORT the ports
# (55432, 56432). Secrets are in files below it, and never on a command line.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/debian.sh
. "$here/debian.sh"

home=${EWMS_PG_HOME:-/opt/ewms-postgres}
port=${EWMS_PG_PORT:-55432}
pooler_port=${EWMS_PG_POOLER_PORT:-56432}
owner=ewms_owner
app=ewms_app
data=$home/data
sockets=$home/run
tls=$home/tls
pooler=$home/pgbouncer
passwords=$home/pgpass

# PostgreSQL and PgBouncer both refuse to run as root.
if [[ $(id -u) == 0 ]]; then account=postgres; else account=$(id -un); fi
unprivileged() {
    if [[ $(id -u) == 0 ]]; then
        (cd / && setpriv --reuid="$account" --regid="$account" --init-groups "$@")
    else
        (cd / && "$@")
    fi
}

# The folder of the newest server's programs; Debian has one for each major version.
programs() {
    find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1
}

is_installed() { [[ -n $(programs) ]] && command -v pgbouncer >/dev/null; }

install_packages() {
    if ! is_installed; then
        need_root
        say "installing postgresql, pgbouncer"
        apt-get update -qq
        # Debian would make a cluster and start both: not on runlevel 1.
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -yqq --no-install-recommends postgresql pgbouncer >/dev/null
    fi
    say "installed: $("$(programs)/postgres" --version), $(pgbouncer --version | head -n 1)"
}

make_cluster() {
    mkdir -p "$home" "$data" "$sockets" "$pooler"
    chmod 755 "$home"
    make_certificates
    make_passwords
    [[ $account == "$(id -un)" ]] || chown -R "$account:" "$data" "$sockets" "$pooler"
    unprivileged "$(programs)/initdb" --pgdata="$data" --username=postgres --encoding=UTF8 \
        --no-locale --auth=scram-sha-256 --pwfile="$pooler/postgres" >"$home/initdb.log" ||
        die "failed, see $home/initdb.log"
    configure_server
    configure_pooler
}

# A CA, and one certificate for both servers.
make_certificates() {
    mkdir -p "$tls"
    local subject=/CN=localhost names=subjectAltName=DNS:localhost,IP:127.0.0.1
    {
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=EWMS test CA" \
            -addext keyUsage=critical,keyCertSign,cRLSign \
            -keyout "$tls/ca.key" -out "$tls/ca.pem"
        openssl req -newkey rsa:2048 -nodes -subj "$subject" \
            -keyout "$tls/server.key" -out "$tls/server.csr"
        openssl x509 -req -days 3650 -in "$tls/server.csr" -CA "$tls/ca.pem" \
            -CAkey "$tls/ca.key" -CAcreateserial -extfile <(printf '%s\n' "$names") \
            -out "$tls/server.pem"
    } >"$home/openssl.log" 2>&1 || die "failed, see $home/openssl.log"
    chmod 600 "$tls"/*.key
    [[ $account == "$(id -un)" ]] || chown "$account:" "$tls/server.key"
}

make_passwords() {
    local role
    (
        umask 077
        : >"$passwords"
        : >"$pooler/userlist.txt"
        for role in postgres "$owner" "$app"; do
            openssl rand -hex 24 >"$pooler/$role"
            printf '%s:*:*:%s:%s\n' localhost "$role" "$(cat "$pooler/$role")" \
                127.0.0.1 "$role" "$(cat "$pooler/$role")" >>"$passwords"
            printf '"%s" "%s"\n' "$role" "$(cat "$pooler/$role")" >>"$pooler/userlist.txt"
        done
    )
}

configure_server() {
    unprivileged tee "$data/conf.d.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$sockets'
ssl = on
ssl_cert_file = '$tls/server.pem'
ssl_key_file = '$tls/server.key'
password_encryption = 'scram-sha-256'
max_connections = 200
log_line_prefix = '%m [%p] %u@%d %a '
CONF
    printf "include = 'conf.d.conf'\n" | unprivileged tee -a "$data/postgresql.conf" >/dev/null
    # From the network everybody needs TLS and a password; the account itself is the administrator.
    unprivileged tee "$data/pg_hba.conf" >/dev/null <<'CONF'
local   all postgres              peer map=administrator
hostssl all all      127.0.0.1/32 scram-sha-256
CONF
    printf 'administrator %s postgres\n' "$account" |
        unprivileged tee "$data/pg_ident.conf" >/dev/null
}

configure_pooler() {
    unprivileged tee "$pooler/pgbouncer.ini" >/dev/null <<CONF
[databases]
* = host=127.0.0.1 port=$port

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pooler_port
unix_socket_dir = $sockets
pool_mode = transaction
default_pool_size = 10
max_client_conn = 1000
# How soon it looks again for a server that was away; 15 s by default.
server_login_retry = 1
auth_type = scram-sha-256
auth_file = $pooler/userlist.txt
client_tls_sslmode = require
client_tls_key_file = $tls/server.key
client_tls_cert_file = $tls/server.pem
server_tls_sslmode = verify-full
server_tls_ca_file = $tls/ca.pem
logfile = $pooler/log
pidfile = $pooler/pid
CONF
}

server() { unprivileged "$(programs)/pg_ctl" --pgdata="$data" --silent --wait "$@"; }

server_runs() { [[ -d $data ]] && server status >/dev/null 2>&1; }

# The process must be ours: after a restart of the machine another one may have its number.
pooler_pid() {
    local pid
    pid=$(cat "$pooler/pid" 2>/dev/null) &&
        tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$pooler/pgbouncer.ini" &&
        printf '%s\n' "$pid"
}

# As the administrator, by the socket.
administer() {
    unprivileged psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --host="$sockets" --port="$port" \
        --username=postgres "$@"
}

start() {
    is_installed || die "not installed: $0 install"
    [[ -s $data/PG_VERSION ]] || make_cluster
    if ! server_runs; then
        unprivileged "$(programs)/pg_ctl" --pgdata="$data" --silent --wait --log="$home/run/log" start
    fi
    start_pooler
    if [[ -z $(administer --tuples-only --command="SELECT 1 FROM pg_roles WHERE rolname = '$app'") ]]; then
        make_database ewms
        set_passwords
    fi
    say "running: PostgreSQL on localhost:$port, PgBouncer on localhost:$pooler_port"
}

start_pooler() {
    [[ -z $(pooler_pid) ]] || return 0
    unprivileged pgbouncer --quiet --daemon "$pooler/pgbouncer.ini"
    # It writes its number only after it has left us; without it, it would be started twice.
    local end=$((SECONDS + 20))
    until [[ -n $(pooler_pid) ]]; do
        ((SECONDS < end)) || die "PgBouncer does not start, see $pooler/log"
        sleep 0.1
    done
}

stop_pooler() {
    local pid
    pid=$(pooler_pid) || return 0
    kill "$pid"
    while [[ -n $(pooler_pid) ]]; do sleep 0.1; done
}

make_database() {
    administer --dbname=postgres --command="CREATE DATABASE \"$1\" TEMPLATE template0"
    grant "$1"
}

grant() {
    administer --dbname="$1" --set=owner="$owner" --set=app="$app" \
        <"$here/postgres/roles.sql"
}

set_passwords() {
    local role
    for role in "$owner" "$app"; do
        printf "ALTER ROLE %s PASSWORD '%s';\n" "$role" "$(cat "$pooler/$role")"
    done | administer --dbname=postgres
}

stop() {
    stop_pooler
    if server_runs; then server --mode=fast stop; fi
    say "stopped"
}

url() {
    printf 'postgresql://%s@localhost:%s/%s?sslmode=verify-full&sslrootcert=%s\n' \
        "$1" "$2" "$3" "$tls/ca.pem"
}

show_env() {
    local database=$1 at=$2 part
    printf 'export PGPASSFILE=%q\n' "$passwords"
    printf 'export EWMS_PG_OWNER_URL=%q\n' "$(url "$owner" "$port" "$database")"
    for part in WMS MQS; do
        printf 'export EWMS_%s_DATABASE=%q\n' "$part" "$(url "$app" "$at" "$database")"
        if [[ $at == "$pooler_port" ]]; then
            printf 'export EWMS_%s_POOLED=true\n' "$part"
            printf 'export EWMS_%s_DATABASE_DIRECT=%q\n' "$part" "$(url "$app" "$port" "$database")"
        fi
    done
}

case ${1:-} in
    install) install_packages ;;
    start) start ;;
    stop) stop ;;
    restart) server --mode="${2:-fast}" --log="$home/run/log" restart ;;
    restart-pooler)
        stop_pooler
        start_pooler
        ;;
    status) server_runs && [[ -n $(pooler_pid) ]] && say "running" ;;
    database) make_database "${2:?NAME}" ;;
    roles) grant "${2:?NAME}" ;;
    env) show_env "${2:-ewms}" "$port" ;;
    env-pooled) show_env "${2:-ewms}" "$pooler_port" ;;
    remove)
        stop
        rm -rf --one-file-system "$home"
        ;;
    *)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
        exit 2
        ;;
esac
