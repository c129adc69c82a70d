#!/bin/sh
# Makes, under .toolbox/, a venv with transformers' inference server and a tiny random-weight model for it to serve; at
# once done when both are there. Usage: sh tests/interop/prepare.sh
set -eu

torch=2.13.0

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/.toolbox/interop-venv
model=$root/.toolbox/interop/tiny-chat
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3

wanted="torch $torch, requirements $(cksum <"$here/requirements.txt")"
if [ "$(cat "$venv/complete" 2>/dev/null)" != "$wanted" ]; then
    echo "interop: installing transformers and torch under .toolbox/interop-venv (about 1.2 GB with the CPU build)"
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$here/requirements.txt"
    # By version only: which file this is differs by machine (CPU or CUDA build), and with it the hash.
    "$venv/bin/python" -m pip install --quiet "torch==$torch"
    echo "$wanted" >"$venv/complete"
fi

wanted="$wanted, $(cksum <"$here/make_model.py")"
if [ "$(cat "$model/complete" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$model"
    HF_HUB_OFFLINE=1 "$venv/bin/python" "$here/make_model.py" "$model"
    echo "$wanted" >"$model/complete"
fi
