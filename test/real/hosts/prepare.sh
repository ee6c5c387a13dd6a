#!/usr/bin/env bash
# Prepares what two hosts with a real systemd need: Ansible in an environment of its own, a Debian root file system, a
# key to reach them, and the release archive that they are to run.
#
# Usage: prepare.sh            prints VENV=, ROOT=, KEY= and RELEASE= at the end
# Cache: $SOPHIA_REAL_CACHE/hosts, else $XDG_CACHE_HOME/sophia-fleet/hosts, else ~/.cache/sophia-fleet/hosts.
# Exit:  0 ready; 75 "could not run, because ...": this machine lacks something; any other code is a bug of this script.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../../.." && pwd)
cache=${SOPHIA_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sophia-fleet}/hosts
root=$cache/root
log=$cache/prepare.log
suite=bookworm
# The hosts have no way out: whatever they need is in their root from the start.
packages=systemd,systemd-sysv,dbus,python3,python3-apt,openssh-server,iproute2,sudo,procps,ca-certificates,libgomp1,libstdc++6
# Raise it when make_root changes what it leaves.
recipe=1

cannot() {
  echo "could not run, because $*" >&2
  exit 75
}

note() { echo "prepare: $*" >&2; }

# Programs of the system, installed when this machine lacks them and can install.
require_programs() {
  local missing=() pair
  for pair in debootstrap:debootstrap systemd-nspawn:systemd-container ip:iproute2 ssh:openssh-client curl:curl; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || cannot "${missing[*]} are not installed, and there is no apt-get"
  note "installing ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "${missing[@]}"; } >>"$log" 2>&1 ||
    cannot "${missing[*]} could not be installed: $(tail -n 1 "$log")"
}

# The mirror that this machine takes its own packages from.
mirror() {
  apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
    awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }'
}

make_root() {
  local from
  from=${SOPHIA_REAL_DEBIAN_MIRROR:-$(mirror)}
  [ -n "$from" ] || cannot "no Debian mirror is known; name one in SOPHIA_REAL_DEBIAN_MIRROR"
  note "making the root file system of the hosts (about a minute)"
  rm -rf "$root" "$root.partial"
  debootstrap --variant=minbase "--include=$packages" "$suite" "$root.partial" "$from" >>"$log" 2>&1 ||
    cannot "debootstrap failed: $(tail -n 1 "$log") (whole log: $log)"
  [ -f "$cache/key" ] || ssh-keygen -q -t ed25519 -N '' -C hosts-lane -f "$cache/key"
  local home
  home=$root.partial$(awk -F: '$1 == "root" { print $6 }' "$root.partial/etc/passwd")
  install -d -m 0700 "$home/.ssh"
  install -m 0600 "$cache/key.pub" "$home/.ssh/authorized_keys"
  rm -f "$root.partial/etc/hostname"
  : >"$root.partial/etc/machine-id"
  mv "$root.partial" "$root"
}

main() {
  [ "$(uname -s)" = Linux ] || cannot "the hosts are Linux containers, this is $(uname -s)"
  [ "$(id -u)" = 0 ] || cannot "hosts and their networks can be made by root only"
  mkdir -p "$cache"
  command -v flock >/dev/null || cannot "flock is not installed"
  local venv
  venv=$("$here/../venv.sh" hosts "$here/requirements.txt")
  exec 8>"$cache/root.lock"
  flock -w 900 8 || cannot "another preparation has held $cache/root.lock for a quarter of an hour"
  : >"$log"
  require_programs
  ip netns list >/dev/null 2>&1 || cannot "this machine has no network namespaces"
  local wanted="$suite $recipe $packages"
  if [ "$(cat "$cache/root.complete" 2>/dev/null)" != "$wanted" ]; then
    rm -f "$cache/root.complete"
    make_root
    # Written last: an interrupted run leaves no stamp, and the next one starts over.
    echo "$wanted" >"$cache/root.complete"
  fi
  local release arch
  case "$(uname -m)" in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) cannot "there is no release for $(uname -m)" ;;
  esac
  release=$cache/release
  note "building the release"
  (cd "$tree" && node "${SOPHIA_REAL_BUILD:-build}/cli/release/main.js" --arch "$arch" --out "$release") >>"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; exit 1; }
  # The line VENV=... of venv.sh.
  echo "$venv"
  echo "ROOT=$root"
  echo "KEY=$cache/key"
  echo "RELEASE=$release"
}

main "$@"
