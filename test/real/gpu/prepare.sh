#!/usr/bin/env bash
# Looks for an NVIDIA GPU and for a Python whose PyTorch can use it; changes nothing and installs nothing.
# SOPHIA_GPU_PYTHON=FILE names the Python; python3 of PATH when absent.
set -uo pipefail
python=${SOPHIA_GPU_PYTHON:-python3}

cannot() {
  echo "could not run, because $1" >&2
  exit 75
}

command -v nvidia-smi >/dev/null || cannot "no GPU is on this host (there is no nvidia-smi on PATH)"
list=$(timeout 60 nvidia-smi -L 2>&1) || cannot "nvidia-smi fails on this host: $(head -n 1 <<<"$list")"
grep -q '^GPU 0: ' <<<"$list" || cannot "no GPU is on this host (nvidia-smi lists none)"
found=$(command -v "$python") || cannot "there is no $python (set SOPHIA_GPU_PYTHON)"
timeout 180 "$found" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
  cannot "$found has no PyTorch that can use the GPU (set SOPHIA_GPU_PYTHON to one that has)"
echo "PYTHON=$found"
