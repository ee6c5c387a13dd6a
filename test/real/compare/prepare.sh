#!/usr/bin/env bash
# Fetches every foreign router of the comparison, so that the lane says at once when one cannot be had.
# Exit: as bench/compare/setup.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for router in nginx smg vllm-router litellm; do
  "$here/../../../bench/compare/setup.sh" "$router" >/dev/null || exit $?
done
