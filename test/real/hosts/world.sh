#!/usr/bin/env bash
# Two hosts with a real systemd and the network between them and a controller, made of namespaces: all that needs root.
#
# Usage: world.sh FOLDER up ROOT         makes the network and the hosts' file systems over ROOT, which stays as it is
#        world.sh FOLDER boot HOST       starts a host (a or b) and prints the pid of its container
#        world.sh FOLDER cut HOST        ends it as a power cut does: everything in it dies at once
#        world.sh FOLDER down            takes all of it away; also after an interrupted run
#        world.sh FOLDER guard PID       waits for that process to end, then does the same
# FOLDER is private to one run; its base name names namespaces and cgroups. Addresses: controller 10.77.0.1, hosts
# 10.77.0.11 and 10.77.0.12, in namespaces of their own, with no way out of this machine.
set -euo pipefail

folder=$1
verb=$2
run=$(basename "$folder")
# Interface names are 15 characters at most.
short=sh$(echo "$run" | sha256sum | cut -c1-6)
hosts="a b"

address_of() { case $1 in a) echo 10.77.0.11 ;; b) echo 10.77.0.12 ;; esac }

# The cgroup trees in which a container's systemd needs a place: the named v1 tree and the v2 tree of a hybrid machine,
# or the one v2 tree.
cgroup_trees() {
  if [ -d /sys/fs/cgroup/systemd ]; then
    local tree
    for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do [ -d "$tree" ] && echo "$tree"; done
  else
    echo /sys/fs/cgroup
  fi
}

kill_cgroup() {
  local tree file try
  for try in 1 2 3 4 5 6 7 8 9 10; do
    local found=no
    for tree in $(cgroup_trees); do
      [ -d "$tree/$run-$1" ] || continue
      while IFS= read -r file; do
        local pid
        while IFS= read -r pid; do
          found=yes
          kill -KILL "$pid" 2>/dev/null || true
        done <"$file"
      done < <(find "$tree/$run-$1" -name cgroup.procs)
    done
    [ "$found" = no ] && break
    sleep 0.2
  done
  for tree in $(cgroup_trees); do
    [ -d "$tree/$run-$1" ] && find "$tree/$run-$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

up() {
  local root=$1 host name
  mkdir -p "$folder"
  ip netns add "$run-ctl"
  ip -n "$run-ctl" link set lo up
  ip -n "$run-ctl" link add br0 type bridge
  ip -n "$run-ctl" addr add 10.77.0.1/24 dev br0
  ip -n "$run-ctl" link set br0 up
  for host in $hosts; do
    name=$run-$host
    ip netns add "$name"
    ip -n "$run-ctl" link add "$short$host" type veth peer name host0 netns "$name"
    ip -n "$run-ctl" link set "$short$host" master br0
    ip -n "$run-ctl" link set "$short$host" up
    ip -n "$name" link set lo up
    ip -n "$name" addr add "$(address_of "$host")/24" dev host0
    ip -n "$name" link set host0 up
    mkdir -p "$folder/$host"/{upper,work,merged}
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$folder/$host/upper,workdir=$folder/$host/work" "$folder/$host/merged"
    printf '127.0.0.1 localhost\n%s host-a\n%s host-b\n' "$(address_of a)" "$(address_of b)" >"$folder/$host/merged/etc/hosts"
    cat /proc/sys/kernel/random/uuid >"$folder/$host/uuid"
  done
}

boot() {
  local host=$1 name=$run-$1 tree
  for tree in $(cgroup_trees); do mkdir -p "$tree/$name"; done
  (
    for tree in $(cgroup_trees); do echo "$BASHPID" >"$tree/$name/cgroup.procs"; done
    exec setsid systemd-nspawn --quiet --directory="$folder/$host/merged" --machine="$name" --hostname="host-$host" \
      --uuid="$(cat "$folder/$host/uuid")" --boot --register=no --keep-unit --link-journal=no \
      --network-namespace-path="/run/netns/$name" --console=pipe --resolv-conf=off --timezone=off \
      </dev/null >>"$folder/$host/console" 2>&1
  ) &
  echo $!
}

# The guest's first process takes all others with it; the container's own process would leave them behind.
cut_power() {
  local parent child
  parent=$(pgrep -f "systemd-nspawn .*--machine=$run-$1 " | head -n 1)
  child=$(pgrep -P "$parent" | head -n 1)
  kill -KILL "$child"
}

down() {
  local host pids
  for host in $hosts; do kill_cgroup "$host"; done
  pids=$(ip netns pids "$run-ctl" 2>/dev/null || true)
  # Connections that Ansible keeps open, and nothing else, live there.
  [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
  for host in $hosts; do
    if mountpoint -q "$folder/$host/merged"; then umount "$folder/$host/merged" || umount --lazy "$folder/$host/merged"; fi
    ip netns delete "$run-$host" 2>/dev/null || true
  done
  ip netns delete "$run-ctl" 2>/dev/null || true
  rm -rf "$folder"
}

guard() {
  while kill -0 "$1" 2>/dev/null; do sleep 1; done
  [ -d "$folder" ] && down
  return 0
}

case $verb in
  up) up "$3" ;;
  boot) boot "$3" ;;
  cut) cut_power "$3" ;;
  down) down ;;
  guard) guard "$3" ;;
  *) echo "world.sh: there is no verb $verb" >&2; exit 2 ;;
esac
