#!/bin/sh
# Install the packages whose data benchmarks/decisions reads into .bench/decisions/data, without what they depend on.
# They are no dependencies of Trimtab, and nothing of them is committed.
set -u
here="$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)"
data="$here/.bench/decisions/data"
list="$here/benchmarks/decisions/requirements.txt"
[ -f "$data/installed.txt" ] && cmp -s "$list" "$data/installed.txt" && exit 0
mkdir -p "$data"
"${PYTHON:-python3}" -m pip --quiet --disable-pip-version-check install --no-deps --upgrade --target "$data" -r "$list" || exit 2
cp "$list" "$data/installed.txt"
