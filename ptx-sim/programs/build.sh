#!/usr/bin/env bash
# Compiles programs/*.cu to programs/ptx/*.ptx and lists the opcodes that they use.
#
#   build.sh           writes ptx/*.ptx, ptx/SOURCES.sha256 and opcodes.txt
#   build.sh --check   compiles to a temporary folder and fails where the committed files differ
#
# nvcc is $NVCC, else $CUDA_HOME/bin/nvcc, else the one on PATH where its release is 13.0, else that of the PyPI wheels,
# installed into ptx-sim/.nvcc (which git ignores). No GPU is needed. Another release writes other PTX: --check says so.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$here/../.nvcc
release=13.0

mode=${1:-write}
case $mode in
    write | --check) ;;
    *) echo "usage: build.sh [--check]" >&2; exit 2 ;;
esac

is_release() { "$1" --version 2>/dev/null | grep -q "release $release,"; }

find_nvcc() {
    if [ -n "${NVCC:-}" ]; then echo "$NVCC"; return; fi
    if [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ]; then echo "$CUDA_HOME/bin/nvcc"; return; fi
    if command -v nvcc >/dev/null && is_release nvcc; then command -v nvcc; return; fi
    local wheel
    wheel=$(ls "$venv"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc 2>/dev/null | head -n 1 || true)
    if [ -z "$wheel" ]; then
        echo "installing nvcc $release into $venv" >&2
        python3 -m venv "$venv" >&2
        echo '*' >"$venv/.gitignore"
        "$venv/bin/pip" install --quiet --disable-pip-version-check \
            "nvidia-cuda-nvcc==$release.*" "nvidia-cuda-runtime==$release.*" "nvidia-cuda-crt==$release.*" \
            "nvidia-nvvm==$release.*" "nvidia-cuda-cccl==$release.*" >&2 || {
            echo "build.sh: no nvcc: set NVCC or CUDA_HOME, or allow pip to install the wheels" >&2
            return 1
        }
        wheel=$(ls "$venv"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc | head -n 1)
    fi
    echo "$wheel"
}

nvcc=$(find_nvcc)
is_release "$nvcc" || echo "build.sh: $nvcc is not release $release; its PTX may differ" >&2

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/ptx"

cd "$here"
for source in *.cu; do
    "$nvcc" -arch=compute_80 -ptx -lineinfo -std=c++17 -o "$out/raw" "$source"
    # .file directives hold absolute paths, and times and sizes of the files: the names alone stay.
    sed -E 's|^([[:space:]]*\.file[[:space:]]+[0-9]+ )"([^"]*/)?([^"/]*)".*$|\1"\3"|' "$out/raw" >"$out/ptx/${source%.cu}.ptx"
done
sha256sum -- *.cu >"$out/ptx/SOURCES.sha256"

# Instructions end in ';' and may share a line with braces, labels and guards; directives start with a dot.
for ptx in "$out"/ptx/*.ptx; do
    sed -E -e 's|//.*$||' -e '/^[[:space:]]*\./d' -e '/^[[:space:]]*$/d' "$ptx" | tr '{};' '\n\n\n' |
        sed -E -e 's/^[[:space:]]+//' -e 's/^[$_A-Za-z0-9]+:[[:space:]]*//' -e 's/^@!?[%$_A-Za-z0-9]+[[:space:]]+//' |
        grep -oE '^[a-z][a-z0-9_]*(\.[a-z0-9_:]+)*([[:space:]]|$)' | sed -E 's/[[:space:]]//g' |
        grep -vE '^(param|retval)[0-9]+$' || true # a call's arguments stand on lines of their own
done | sort | uniq -c | awk '{ print $2, $1 }' >"$out/opcodes.txt"

if [ "$mode" = --check ]; then
    status=0
    for dir in ptx opcodes.txt; do
        diff -rq "$dir" "$out/$dir" >&2 || status=1
    done
    if [ $status -ne 0 ]; then echo "build.sh: the committed PTX is not what $nvcc makes of the sources" >&2; fi
    exit $status
fi

rm -rf ptx
mkdir ptx
cp "$out"/ptx/* ptx/
cp "$out/opcodes.txt" .
