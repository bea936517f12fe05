# What the installers beside this file share: sourced by them, never run. Debian and root only.
# shellcheck shell=bash

# Where copies of what was fetched are kept, so that only the first installation of a machine
# needs the network.
# shellcheck disable=SC2034  # used by who sources this
cache=${EWMS_CACHE:-/var/cache/ewms}

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
    exit 1
}

need_root() { [[ $(id -u) == 0 ]] || die "needs root"; }

# The mirror that this machine itself uses, from either form of apt's configuration.
debian_mirror() {
    local found
    found=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
        grep -Eo '^(URIs:|deb)[[:space:]].*' | grep -Eo 'https?://[^[:space:]]+' | head -n 1) || true
    [[ -n $found ]] || die "no Debian mirror in /etc/apt: this is for Debian machines"
    printf '%s\n' "${found%/}"
}

# need COMMAND PACKAGE…: what brings the command is installed where it is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "$@" >/dev/null
}

# Kernels of this kind keep some capabilities and devpts to themselves; without these two lines
# apptainer refuses to start a container there.
adapt_apptainer() {
    sed -i -e 's/^root default capabilities = .*/root default capabilities = no/' \
        -e 's/^mount devpts = .*/mount devpts = no/' "$1"
}
