#!/bin/sh
# A RabbitMQ node of its own, from Debian's package, for tests and demonstrations:
#   sh scripts/rabbitmq.sh install|start|stop|env
#   sh scripts/rabbitmq.sh ctl list_queues -p ewms      (any command of rabbitmqctl)
# It listens on the loopback only, with its own ports, folder, cookie and epmd, and touches nothing
# of a node that the machine may run already. `env` prints the settings of an MQS that uses it:
#   set -a; eval "$(sh scripts/rabbitmq.sh env)"; set +a; ewms mqs
# EWMS_RABBITMQ_FOLDER and EWMS_RABBITMQ_PORT (the first of five ports) may be chosen.
# The folder holds a password and a CA's key; only its owner may read it.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${EWMS_RABBITMQ_FOLDER:-$root/.rabbitmq}
amqp=${EWMS_RABBITMQ_PORT:-25610}
management=$((amqp + 1))
distribution=$((amqp + 2))
epmd=$((amqp + 3))
jwks=$((amqp + 4))
python=${PYTHON:-$root/.venv/bin/python}
server=/usr/lib/rabbitmq/bin/rabbitmq-server

install() {
    if [ -x "$server" ]; then
        return
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "rabbitmq: needs Debian's package: apt-get install rabbitmq-server" >&2
        exit 1
    fi
    # The package would start a node of the machine's own, which nobody asked for.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rabbitmq-server
}

configure() {
    umask 077
    mkdir -p "$folder/log" "$folder/mnesia" "$folder/home"
    [ -s "$folder/password" ] || "$python" -c 'import secrets; print(secrets.token_hex(16))' \
        >"$folder/password"
    [ -s "$folder/home/.erlang.cookie" ] || {
        "$python" -c 'import secrets; print(secrets.token_hex(16), end="")' \
            >"$folder/home/.erlang.cookie"
        chmod 400 "$folder/home/.erlang.cookie"
    }
    "$python" -m ewms_mqs.small_ca "$folder/ca"
    echo '[rabbitmq_management, rabbitmq_auth_backend_oauth2].' >"$folder/enabled_plugins"
    cat >"$folder/rabbitmq.conf" <<END
listeners.tcp.default = 127.0.0.1:$amqp
management.tcp.ip = 127.0.0.1
management.tcp.port = $management
distribution.listener.interface = 127.0.0.1
distribution.listener.port_range.min = $distribution
distribution.listener.port_range.max = $distribution
default_vhost = ewms
default_user = ewms-mqs
default_pass = $(cat "$folder/password")
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
auth_backends.1 = internal
auth_backends.2 = rabbit_auth_backend_oauth2
auth_oauth2.resource_server_id = ewms-mqs
# By name: Erlang takes no certificate for an address.
auth_oauth2.jwks_url = https://localhost:$jwks/jwks.json
auth_oauth2.https.peer_verification = verify_peer
auth_oauth2.https.cacertfile = $folder/ca/ca.pem
auth_oauth2.https.hostname_verification = wildcard
auth_oauth2.algorithms.1 = RS256
# Depth and rates are shown to users once a second.
collect_statistics_interval = 1000
# A task may run for a day before its event is acknowledged.
consumer_timeout = 86400000
disk_free_limit.absolute = 200MB
log.file.level = warning
END
    # The API tells no news of a queue sooner than its finest samples are apart: 5 s by default.
    cat >"$folder/advanced.config" <<END
[{rabbit, [{quorum_tick_interval, 1000}]},
 {rabbitmq_management, [{sample_retention_policies, [
   {global, [{605, 1}]}, {basic, [{605, 1}]}, {detailed, [{10, 1}]}]}]}].
END
}

is_running() {
    [ -s "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null
}

answers() {
    "$python" - "http://127.0.0.1:$management/api/health/checks/virtual-hosts" "$folder/password" <<'END'
import base64, pathlib, sys, urllib.request
password = pathlib.Path(sys.argv[2]).read_text().strip()
secret = base64.b64encode(f"ewms-mqs:{password}".encode()).decode()
request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Basic {secret}"})
try:
    urllib.request.urlopen(request, timeout=5)
except OSError:
    sys.exit(1)
END
}

start() {
    if is_running; then
        echo "rabbitmq: runs already, AMQP on 127.0.0.1:$amqp" >&2
        return
    fi
    [ -x "$server" ] || { echo "rabbitmq: not installed; make rabbitmq" >&2; exit 1; }
    configure
    # Erlang's schedulers would spin while they wait, and take the cores of whatever else runs.
    HOME=$folder/home \
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd \
    RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_NODENAME=ewms-$amqp@localhost \
    RABBITMQ_BASE=$folder RABBITMQ_MNESIA_BASE=$folder/mnesia RABBITMQ_LOG_BASE=$folder/log \
    RABBITMQ_PID_FILE=$folder/pid \
    RABBITMQ_CONFIG_FILE=$folder/rabbitmq.conf \
    RABBITMQ_ADVANCED_CONFIG_FILE=$folder/advanced.config \
    RABBITMQ_ENABLED_PLUGINS_FILE=$folder/enabled_plugins \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none' \
        setsid "$server" </dev/null >"$folder/log/start.log" 2>&1 &
    for _ in $(seq 120); do
        if answers; then
            echo "rabbitmq: AMQP on 127.0.0.1:$amqp, management on 127.0.0.1:$management" >&2
            return
        fi
        sleep 0.5
    done
    echo "rabbitmq: did not start; see $folder/log" >&2
    exit 1
}

stop() {
    if is_running; then
        pid=$(cat "$folder/pid")
        # SIGTERM stops a node in order.
        # It may have been killed a moment ago.
        kill "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    fi
    rm -f "$folder/pid"
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd epmd -kill >/dev/null 2>&1 || true
}

ctl() {
    HOME=$folder/home \
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd \
    RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_NODENAME=ewms-$amqp@localhost \
        /usr/lib/rabbitmq/bin/rabbitmqctl --quiet "$@"
}

env_lines() {
    cat <<END
EWMS_MQS_BROKER=rabbitmq
EWMS_MQS_RABBITMQ_ADDRESS=127.0.0.1:$amqp
EWMS_MQS_RABBITMQ_MANAGEMENT=http://127.0.0.1:$management
EWMS_MQS_RABBITMQ_VHOST=ewms
EWMS_MQS_RABBITMQ_USER=ewms-mqs
EWMS_MQS_RABBITMQ_PASSWORD_FILE='$folder/password'
EWMS_MQS_RABBITMQ_CONSUMER_TIMEOUT=86400
EWMS_MQS_JWKS=127.0.0.1:$jwks
EWMS_MQS_JWKS_CA='$folder/ca'
END
}

case ${1:-} in
install) install ;;
start) start ;;
stop) stop ;;
env) env_lines ;;
ctl) shift; ctl "$@" ;;
*) echo "usage: rabbitmq.sh install|start|stop|env|ctl" >&2; exit 2 ;;
esac
