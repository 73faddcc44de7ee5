#!/bin/sh
# Makes .venv and installs into it the exact versions of constraints.txt. `make` runs it where something changed.
# PYTHON names an interpreter; without it the first of the usual names that is 3.11 or newer is taken.
set -eu
cd "$(dirname "$0")/.."

new_enough() {
    [ -n "$1" ] && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" && echo "$PYTHON" && return
        echo "PYTHON=$PYTHON is not Python 3.11 or newer." >&2
        exit 1
    fi
    for name in python3.11 python3 python3.12 python3.13; do
        new_enough "$name" && echo "$name" && return
    done
    echo "Python 3.11 or newer is needed (on Debian: apt install python3 python3-venv). Or name one: make PYTHON=..." >&2
    exit 1
}

# A copied or moved folder brings a .venv that points at its old place; a new system Python leaves one that cannot run.
if [ "$(cat .venv/installed 2>/dev/null)" != "$(pwd -P)" ] || ! new_enough .venv/bin/python; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi

echo "Installing packages (about a minute; longer where PyTorch is its CUDA build) ..."
rm -f .venv/installed
.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
    -e '.[api,worker,embedded,demo,dev]'
pwd -P >.venv/installed
