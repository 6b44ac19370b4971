#!/usr/bin/env bash
# Makes the Python environment of the PyTorch peer and of the reference cases: `.peer` in the project's folder.
#
#   benches/peer/setup.sh
#
# Needs python3 (3.11 or later) with venv, and pip's package index. The wheel of torch for Linux brings CUDA's libraries along
# (5 GB in all once installed), though nothing here uses them. Does nothing if the environment is as requirements.txt asks.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$here/../.." && pwd)/.peer
# Copied last, so that an installation that was cut off starts again.
mark=$venv/requirements.txt
if ! cmp -s "$here/requirements.txt" "$mark"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --no-cache-dir --disable-pip-version-check --quiet -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$mark"
fi
"$venv/bin/python" -c 'import numpy, safetensors, torch; print("torch", torch.__version__, "in", __import__("sys").prefix)'
