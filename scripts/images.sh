#!/usr/bin/env bash
# Container images for tests and small sites, made without network from what is on this machine:
#
#   images.sh task FOLDER            busybox: sh, cp, cat, env, sleep, …; what a user's task can use
#   images.sh pilot FOLDER [PILOT]   that, the pilot (build/ewms-pilot) and apptainer, by which the
#                                    pilot starts the user's container inside of its own
#   images.sh all [FOLDER]           both, below build/images, each as a folder and as a SIF file
#
# FOLDER becomes the image as a folder ("sandbox"), and FOLDER.sif beside it the same as one file.
# `make images`. Needs apptainer (apptainer.sh install), busybox-static, and root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/debian.sh
. "$here/debian.sh"

project=$(dirname "$here")
unfinished=
trap '[[ -z $unfinished ]] || rm -rf "$unfinished"' EXIT

# What every image has: busybox, and the files that apptainer fills in when it starts one.
lay_base() {
    local root=$1 applet
    mkdir -p "$root"/{bin,dev,etc,home,lib64,proc,root,sys,tmp,usr/bin,var/tmp}
    chmod 1777 "$root/tmp" "$root/var/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do
        [[ $applet == busybox ]] || ln -sf busybox "$root/bin/$applet"
    done
    ln -s ../../bin/env "$root/usr/bin/env" # scripts begin with this
    touch "$root"/etc/{hosts,resolv.conf,localtime}
    # Apptainer inside of an image looks for root, and adds who it runs for.
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
}

# The C library in whole: a program that unpacks itself loads what no list of its needs shows.
lay_libraries() {
    local root=$1 library
    shift
    mkdir -p "$root/lib/x86_64-linux-gnu" "$root/usr/lib"
    ln -s ../../lib/x86_64-linux-gnu "$root/usr/lib/x86_64-linux-gnu"
    while read -r library; do
        cp -L "$library" "$root/lib/x86_64-linux-gnu/"
    done < <(
        dpkg -L libc6 | grep -E '/x86_64-linux-gnu/lib[^/]*\.so[^/]*$'
        ldd "$@" | grep -Eo '/[^ ]+/lib[^ ]+' | sort -u
    )
    cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
}

lay_apptainer() {
    local root=$1 file
    # It unpacks image files by this one, since mounting them needs rights that workers lack.
    cp -L "$(command -v unsquashfs)" "$root/usr/bin/"
    while read -r file; do
        mkdir -p "$root$(dirname "$file")"
        cp -a "$file" "$root$file"
    done < <("$here/apptainer.sh" files)
    mkdir -p "$root/var/lib/apptainer/mnt/session"
}

# seal ROOT FOLDER RUN: the laid-out root as an image, in both forms; RUN is what `run` does.
seal() {
    local root=$1 folder=$2 run=$3
    local log=$folder.log
    mkdir -p "$(dirname "$folder")"
    {
        apptainer build --force --sandbox "$folder" "$root"
        if [[ -n $run ]]; then
            # shellcheck disable=SC2016  # for the image's shell
            printf '#!/bin/sh\nexec %s "$@"\n' "$run" >"$folder/.singularity.d/runscript"
        fi
        chmod -R a+rX "$folder" # jobs read it as another account
        apptainer build --force "$folder.sif" "$folder"
    } >"$log" 2>&1 || die "failed, see $log"
    rm -f "$log"
    say "$folder, $folder.sif ($(du -h "$folder.sif" | cut -f 1))"
}

prepare() {
    need_root
    need busybox busybox-static
    command -v apptainer >/dev/null || die "apptainer is not installed: $here/apptainer.sh install"
    unfinished=$(mktemp -d)
    chmod 755 "$unfinished"
    lay_base "$unfinished"
}

make_task() {
    prepare
    seal "$unfinished" "$1" ""
    rm -rf "$unfinished"
}

make_pilot() {
    local pilot=$2
    [[ -x $pilot ]] || die "$pilot is not there: make pilot"
    prepare
    lay_libraries "$unfinished" "$pilot" "$(command -v unsquashfs)"
    lay_apptainer "$unfinished"
    install -m 755 "$pilot" "$unfinished/usr/bin/ewms-pilot"
    seal "$unfinished" "$1" /usr/bin/ewms-pilot
    rm -rf "$unfinished"
}

pilot=$project/build/ewms-pilot
case ${1:-} in
    task) make_task "${2:?FOLDER}" ;;
    pilot) make_pilot "${2:?FOLDER}" "${3:-$pilot}" ;;
    all)
        folder=${2:-$project/build/images}
        make_task "$folder/task"
        make_pilot "$folder/pilot" "$pilot"
        ;;
    *)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
        exit 2
        ;;
esac
