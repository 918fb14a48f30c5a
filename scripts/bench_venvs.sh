#!/bin/sh
# Make one environment a peer under .bench/, from benchmarks/*/peers/PEER/requirements.txt or
# tests/clients/requirements/PEER.txt; all of serving, or those named.
# A peer that cannot be installed is reported, and its reason kept in .bench/PEER.failed for the table; the others go on.
# Uses uv when it is on the PATH or in .venv, else installs uv into .bench/uv.
set -u
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"  # uv reads no settings of pip
here="$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)"
python="${PYTHON:-python3}"
bench="$here/.bench"
lists="$here/benchmarks/serving/peers"
mkdir -p "$bench"
uv="$(command -v uv || true)"
[ -n "$uv" ] || { [ -x "$here/.venv/bin/uv" ] && uv="$here/.venv/bin/uv"; }
if [ -z "$uv" ]; then
  [ -x "$bench/uv/bin/uv" ] || { "$python" -m venv "$bench/uv" && "$bench/uv/bin/python" -m pip --quiet --disable-pip-version-check install uv; } || exit 2
  uv="$bench/uv/bin/uv"
fi
[ $# -gt 0 ] || set -- $(cd "$lists" && for list in */requirements.txt; do dirname "$list"; done)
missing=0
for peer in "$@"; do
  list="$(ls "$here"/benchmarks/*/peers/"$peer"/requirements.txt "$here"/tests/clients/requirements/"$peer".txt 2>/dev/null | head -n 1)"
  if [ ! -f "$list" ]; then
    echo "no peer '$peer'; there are: $(cd "$here/benchmarks" && ls -d */peers/*/ | cut -d/ -f3 | tr '\n' ' ')" >&2
    exit 2
  fi
  venv="$bench/$peer"
  cmp -s "$list" "$venv/installed.txt" && continue
  echo "installing $peer"
  if { [ -x "$venv/bin/python" ] || "$python" -m venv --without-pip "$venv"; } >"$bench/$peer.log" 2>&1 &&
    cp "$list" "$venv/installing.txt" &&
    "$uv" pip install --exact --quiet --compile-bytecode --python "$venv/bin/python" --requirement "$venv/installing.txt" >>"$bench/$peer.log" 2>&1; then
    mv "$venv/installing.txt" "$venv/installed.txt"
    rm -f "$bench/$peer.log" "$bench/$peer.failed"
  else
    mv "$bench/$peer.log" "$bench/$peer.failed"
    missing=$((missing + 1))
    echo "$peer cannot be installed:" >&2
    tail -n 5 "$bench/$peer.failed" >&2
  fi
done
[ "$missing" -eq 0 ] || echo "$missing of the peers could not be installed; the table will say so" >&2
