#!/usr/bin/env bash
# Prepares what the store's lane runs: PostgreSQL and pgbouncer from apt. initdb refuses root, so root needs a user
# `postgres`, which the package makes.
#
# Prints: BIN=... (the folder of initdb, pg_ctl, postgres), PGBOUNCER=...
# Cache:  the log lies in $SOPHIA_REAL_CACHE/store, else $XDG_CACHE_HOME/sophia-fleet/store, else ~/.cache/sophia-fleet/store.
# Exit:   0 ready; 75 "could not run, because ...": this machine lacks something; any other code is a bug of this script.
set -euo pipefail

cache=${SOPHIA_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sophia-fleet}/store
log=$cache/prepare.log

cannot() {
  echo "could not run, because $*" >&2
  exit 75
}

# The newest PostgreSQL that is installed as Debian does it.
newest_bin() { find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1; }

mkdir -p "$cache"
command -v flock >/dev/null || cannot "flock is not installed"
exec 9>"$cache/lock"
flock -w 600 9 || cannot "another preparation has held $cache/lock for ten minutes"
missing=()
[ -x "$(newest_bin)/initdb" ] || missing+=(postgresql)
command -v pgbouncer >/dev/null || missing+=(pgbouncer)
if [ ${#missing[@]} != 0 ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    cannot "${missing[*]} not installed, and this user cannot install them"
  : >"$log"
  # The packages would start a server of their own, which nobody needs.
  export DEBIAN_FRONTEND=noninteractive
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  for try in 1 2 3; do
    { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >>"$log" 2>&1 && break
    [ "$try" != 3 ] || cannot "${missing[*]} could not be installed (log: $log)"
    sleep $((try * 5))
  done
fi
[ "$(id -u)" != 0 ] || id postgres >/dev/null 2>&1 || cannot "there is no user postgres to run the database"
echo "BIN=$(newest_bin)"
echo "PGBOUNCER=$(command -v pgbouncer)"
