#!/bin/sh
# Install the package and run tests/pythons/smoke.py on every Python from 3.11 on that is found: on the PATH and by pyenv,
# one of each minor version. Each has an environment under .bench/. Uses uv when it is on the PATH or in .venv.
set -eu
here="$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)"
uv="$(command -v uv || echo "$here/.venv/bin/uv")"
if [ ! -x "$uv" ]; then
  echo "uv is needed: pip install uv" >&2
  exit 2
fi
usable='import sqlite3, sys, venv
if sys.version_info < (3, 11): sys.exit(1)
print(f"{sys.version_info.major}.{sys.version_info.minor}")'
mkdir -p "$here/.bench"
found="" failed=""
for python in "$HOME"/.pyenv/versions/*/bin/python $(for n in 11 12 13 14 15; do command -v "python3.$n" || true; done); do
  [ -x "$python" ] || continue
  version="$("$python" -c "$usable" 2>/dev/null)" || continue
  case " $found " in *" $version "*) continue ;; esac
  found="$found $version"
  venv="$here/.bench/python$version"
  echo "== Python $version ($("$python" -c 'import sqlite3; print("SQLite", sqlite3.sqlite_version)'))"
  [ -x "$venv/bin/python" ] || "$python" -m venv --without-pip "$venv"
  if (cd "$here" && "$uv" pip install --quiet --python "$venv/bin/python" --reinstall-package trimtab \
    --constraint constraints.txt .) && PYTHONPATH="$here/tests" "$venv/bin/python" -m pythons.smoke; then
    continue
  fi
  failed="$failed $version"
done
[ -n "$found" ] || { echo "no Python from 3.11 on was found" >&2; exit 2; }
[ -z "$failed" ] || { echo "failed on Python$failed" >&2; exit 1; }
echo "passed on Python$found"
