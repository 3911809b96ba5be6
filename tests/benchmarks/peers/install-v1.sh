#!/bin/sh
# Install volsvc 1.0.0, with which benchmarks compare, out of this repository's history and with the
# dependencies that it pinned: install-v1.sh PYTHON FOLDER
set -eu
python="$1"
folder="$2"
commit=23b38e8b1c363b74520c89a9ac419a1d3ea13462

if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  echo "volsvc 1.0.0 is commit $commit, which this checkout does not have: git fetch --unshallow" >&2
  exit 1
fi
rm -rf "$folder"
mkdir -p "$folder/source"
git archive "$commit" | tar -x -C "$folder/source"
"$python" -m venv "$folder/venv"
# Of its extras only the reader of bars is needed, which is pandas.
"$folder/venv/bin/python" -m pip install -q -c "$folder/source/constraints.txt" \
  "$folder/source" pandas
rm -rf "$folder/source"
touch "$folder/.complete"
