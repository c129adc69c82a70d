#!/usr/bin/env bash
# Makes the virtual environment: make-venv.sh PYTHON FOLDER. On Debian the venv module is a package of its own.
set -euo pipefail
python=$1 folder=$2
command -v "$python" >/dev/null || { echo "no $python found: ScaiGrid needs Python 3.11 or newer" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "$("$python" --version) is too old: ScaiGrid needs Python 3.11 or newer (make PYTHON=python3.12 …)" >&2
  exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq "python$version-venv"
  else
    echo "Python's venv module is missing: install the package python$version-venv" >&2
    exit 1
  fi
fi
rm -rf "$folder"
"$python" -m venv "$folder"
