#!/bin/sh
# Make the virtual environment $1 with everything that demo, tests and lint need.
# Uses uv when it is on the PATH, else installs uv into the environment itself.
set -eu
venv="$1"
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "trimtab needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
  echo "Name another one: make PYTHON=python3.12 ..." >&2
  exit 2
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
uv="$(command -v uv || true)"
if [ -z "$uv" ]; then
  [ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip --quiet --disable-pip-version-check install uv
  uv="$venv/bin/uv"
fi
"$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" \
  --constraint constraints.txt --group dev --editable '.[examples]'
# The data of examples/bikes. The package's dependencies, torch among them, are not needed.
"$uv" pip install --quiet --python "$venv/bin/python" --constraint constraints.txt --no-deps ISLP
