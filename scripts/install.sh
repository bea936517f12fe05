#!/bin/sh
# Makes an environment with everything in it: `sh scripts/install.sh .venv`.
# Needs a Python from 3.11 to 3.13; PYTHON names one, otherwise the first found on PATH is taken.
# uv is used because it is quick; where it cannot be had, pip does the same.
set -eu

venv=$1
cd "$(dirname "$0")/.."

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

if ! { [ -x "$venv/bin/python" ] && fits "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    found=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if fits "$candidate"; then
            found=$candidate
            break
        fi
    done
    if [ -z "$found" ]; then
        echo "install: needs Python 3.11, 3.12 or 3.13; name one with PYTHON=/path/to/python" >&2
        exit 1
    fi
    echo "install: $venv with $("$found" --version)"
    if ! "$found" -m venv --clear "$venv"; then
        echo "install: $found cannot make environments; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
fi

python=$venv/bin/python

install_with_uv() {
    "$python" -m pip install --quiet --disable-pip-version-check uv &&
        "$python" -m uv pip install --quiet --compile-bytecode --python "$python" --editable '.[dev]'
}

if ! install_with_uv; then
    echo "install: not with uv, so with pip alone; this takes longer" >&2
    "$python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
fi

# What is editable is compiled by neither, and the first start would wait for it.
"$python" -m compileall -q libs clients peers wms_grpc
