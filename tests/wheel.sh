#!/bin/sh
# Build a wheel from this clone, install it into an empty environment elsewhere, and use it there.
set -eu
python=$1
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --wheel --outdir "$work/dist" "$here" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install "$work"/dist/*.whl
cd "$work"
turnlog="$work/venv/bin/turnlog"
export TURNLOG_DB="$work/calls.db"
"$turnlog" demo | grep -q interrupted
"$turnlog" init | grep -q calls.db
"$turnlog" import "$here/fixtures/demo.jsonl.gz"
"$turnlog" replay barge_in_vad --turn 2 | grep -q interrupted
"$turnlog" conformance "$here/fixtures/demo.jsonl.gz"
"$work/venv/bin/python" -c 'import eventstore, sys; sys.exit("venv" not in eventstore.__file__)'
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install "$(echo "$work"/dist/*.whl)[view]"
"$turnlog" export html barge_in_vad --out call.html
grep -q "<canvas" call.html
echo "the wheel works: $(basename "$work"/dist/*.whl)"
