#!/usr/bin/env bash
# Prepares a Python environment for a lane, in a cache folder outside the tree; run by the lanes' own prepare.sh.
#
# Usage: venv.sh LANE REQUIREMENTS      prints one line at the end: VENV=...
# Cache: $SOPHIA_REAL_CACHE/LANE, else $XDG_CACHE_HOME/sophia-fleet/LANE, else ~/.cache/sophia-fleet/LANE.
# Exit:  0 ready; 75 "could not run, because ...": this machine lacks something; any other code is a bug of this script.
set -euo pipefail

lane=$1
requirements=$2
cache=${SOPHIA_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sophia-fleet}/$lane
venv=$cache/venv
stamp=$cache/complete
log=$cache/prepare.log

cannot() {
  echo "could not run, because $*" >&2
  exit 75
}

# A package index may fail for a moment; three tries with a growing pause, then give up with the reason.
install() {
  local try
  for try in 1 2 3; do
    "$venv/bin/pip" install --quiet --only-binary :all: -r "$requirements" >>"$log" 2>&1 && return 0
    [ "$try" = 3 ] || sleep $((try * 5))
  done
  cannot "the packages could not be installed in three tries: $(tail -n 1 "$log") (whole log: $log)"
}

mkdir -p "$cache"
command -v flock >/dev/null || cannot "flock is not installed"
# Two runs may start at once; the second waits here and then finds the cache complete.
exec 9>"$cache/lock"
flock -w 600 9 || cannot "another preparation has held $cache/lock for ten minutes"
wanted=$(sha256sum <"$requirements")
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    cannot "python3 (3.10 or later) with its venv module is not installed"
  rm -rf "$venv" "$stamp"
  : >"$log"
  python3 -m venv "$venv" >>"$log" 2>&1
  install
  # Written last: an interrupted run leaves no stamp, and the next one starts over.
  echo "$wanted" >"$stamp"
fi
echo "VENV=$venv"
