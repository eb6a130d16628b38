#!/usr/bin/env bash
# Install this checkout, editable, with one extra into $VENV. Does nothing, and needs no network,
# when that was done before for the same pyproject.toml.
#
# usage: [VENV=.venv] [PYTHON=python3] [TORCH=torch==2.13.0] scripts/install.sh EXTRA
set -euo pipefail
cd "$(dirname "$0")/.."

extra=$1
venv=${VENV:-.venv}
python=${PYTHON:-python3}
torch=${TORCH:-torch==2.13.0}

# The range that pyproject.toml allows; a GPU machine's image may hold its own build.
has_torch() {
  "$1" - 2>/dev/null <<'P'
import sys
import torch
version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
sys.exit(not (2, 11) <= version < (2, 14))
P
}

supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
}

wanted=$({ cat pyproject.toml; pwd; } | sha256sum | cut -d ' ' -f 1)
for done in "$extra" dev; do  # dev holds every other extra that the make targets ask for
  [ "$(cat "$venv/.installed-$done" 2>/dev/null)" = "$wanted" ] && exit 0
done

if [ ! -x "$venv/bin/python" ]; then
  supported "$python" || { echo "Python 3.11 to 3.13 is needed, $python is $("$python" -V 2>&1): make ... PYTHON=python3.12" >&2; exit 2; }
  inherit=()
  has_torch "$python" && inherit=(--system-site-packages)
  echo "creating $venv with $("$python" -V)"
  "$python" -m venv "${inherit[@]}" "$venv" || { rm -rf "$venv"; exit 1; }
fi

if ! has_torch "$venv/bin/python"; then
  echo "installing $torch (once, this takes a minute or two)"
  "$venv/bin/python" -m pip install -qq "$torch"
fi
echo "installing sglang-lang[$extra] (once, this takes a minute or two)"
"$venv/bin/python" -m pip install -qq --editable ".[$extra]"
echo "$wanted" >"$venv/.installed-$extra"
