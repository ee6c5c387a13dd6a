#!/usr/bin/env bash
# A Python with the official `openai` package.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../venv.sh" clients "$here/../../clients/openai_python/requirements.txt"
