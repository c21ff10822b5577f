#!/usr/bin/env bash
# Gather the wheels that a machine with torch but without a network lacks: scripts/wheelhouse.sh PYTHON_VERSION [FOLDER]
# There: pip install --no-index --find-links FOLDER 'vislab[book,test]' and then vislab doctor.
set -euo pipefail
cd "$(dirname "$0")/.."
version="${1:?usage: scripts/wheelhouse.sh PYTHON_VERSION [FOLDER], for instance 3.11}"
folder="${2:-_build/wheelhouse-$version}"
case "$version" in
    3.11 | 3.12) ;;
    *) echo "Python 3.11 or 3.12, not $version" >&2; exit 2 ;;
esac
mkdir -p "$folder"
python="${PYTHON:-.venv/bin/python}"
# torch, its CUDA libraries and triton are there already, and large
lean="$(mktemp)"
trap 'rm -f "$lean"' EXIT
grep -v -i -E '^(torch|torchvision|triton|nvidia-|cuda-)' constraints.txt > "$lean"
# a late patch release, since some packages ask for more than the first
"$python" -m pip download --quiet --disable-pip-version-check --only-binary :all: --no-deps \
    --python-version "$version.20" --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
    --platform manylinux_2_17_x86_64 --platform any --dest "$folder" -r "$lean"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$folder" .
echo "$(find "$folder" -name '*.whl' | wc -l) wheels, $(du -sh "$folder" | cut -f1) in $folder"
