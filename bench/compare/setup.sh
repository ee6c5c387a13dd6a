#!/usr/bin/env bash
# Fetches one foreign router for `npm run bench -- compare`, into a cache folder outside the tree.
#
# Usage: setup.sh nginx|smg|vllm-router|litellm      prints COMMAND=... and VERSION=... at the end
# Cache: $SOPHIA_REAL_CACHE/compare, else $XDG_CACHE_HOME/sophia-fleet/compare, else ~/.cache/sophia-fleet/compare.
# Exit:  0 ready; 75 "could not run, because ...": this machine or its package index lacks something; 2 a wrong name;
#        any other code is a bug of this script.
set -euo pipefail

name=${1:-}
cache=${SOPHIA_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sophia-fleet}/compare/$name
stamp=$cache/complete
log=$cache/prepare.log

cannot() {
  echo "could not run, because $*" >&2
  exit 75
}

# Exact versions: a comparison names what it compared, and a later release is somebody's decision to take.
requirement() {
  case $1 in
    nginx) echo nginx ;;
    smg) echo smg==1.13.0 ;;
    vllm-router) echo vllm-router==0.1.17 ;;
    litellm) echo 'litellm[proxy]==1.105.0' ;;
    *)
      echo "setup.sh: there is no router called \"$1\"; there are nginx, smg, vllm-router and litellm" >&2
      exit 2
      ;;
  esac
}

# retried COMMAND...: an index may fail for a moment; three tries with a growing pause.
retried() {
  local try
  for try in 1 2 3; do
    "$@" >>"$log" 2>&1 && return 0
    [ "$try" = 3 ] || sleep $((try * 5))
  done
  return 1
}

last_words() { grep -v '^$' "$log" | tail -n 1; }

# The program alone, unpacked beside the system: no service is started and root is not needed.
fetch_nginx() {
  local archive
  command -v apt-get >/dev/null || cannot "nginx is not installed, and there is no apt-get to fetch it with"
  mkdir -p "$cache/archives" "$cache/root"
  # apt drops its rights to a user that cannot write here, and says so at length; it is told not to.
  if ! (cd "$cache/archives" && retried apt-get -o APT::Sandbox::User="$(id -un)" download nginx); then
    if [ "$(id -u)" = 0 ]; then retried apt-get update || true; fi
    (cd "$cache/archives" && retried apt-get -o APT::Sandbox::User="$(id -un)" download nginx) ||
      cannot "nginx could not be downloaded: $(last_words) (whole log: $log)"
  fi
  for archive in "$cache"/archives/*.deb; do dpkg-deb -x "$archive" "$cache/root" >>"$log" 2>&1; done
}

fetch_python() {
  python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    cannot "python3 (3.10 or later) with its venv module is not installed"
  python3 -m venv "$cache/venv" >>"$log" 2>&1
  retried "$cache/venv/bin/pip" install --quiet --prefer-binary "$1" ||
    cannot "$1 could not be installed in three tries: $(last_words) (whole log: $log)"
}

command_of() {
  case $1 in
    nginx) command -v nginx || echo "$cache/root/usr/sbin/nginx" ;;
    *) echo "$cache/venv/bin/$1" ;;
  esac
}

version_of() {
  case $1 in
    nginx) "$command" -v 2>&1 | sed -n 's|.*nginx/||p' ;;
    *) "$cache/venv/bin/pip" show "$1" 2>/dev/null | sed -n 's/^Version: //p' ;;
  esac
}

wanted=$(requirement "$name")
mkdir -p "$cache"
command -v flock >/dev/null || cannot "flock is not installed"
# Two runs may start at once; the second waits here and then finds the cache complete.
exec 9>"$cache/lock"
flock -w 900 9 || cannot "another preparation has held $cache/lock for a quarter of an hour"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$cache/venv" "$cache/root" "$cache/archives" "$stamp"
  : >"$log"
  case $name in
    nginx) command -v nginx >/dev/null || fetch_nginx ;;
    *) fetch_python "$wanted" ;;
  esac
  # Written last: an interrupted run leaves no stamp, and the next one starts over.
  echo "$wanted" >"$stamp"
fi
command=$(command_of "$name")
[ -x "$command" ] || cannot "$command is missing after its package was unpacked"
version=$(version_of "$name")
[ -n "$version" ] || cannot "$command does not tell its version"
echo "COMMAND=$command"
echo "VERSION=$version"
