#!/usr/bin/env bash
# A Python with grpcio, for the client that is generated from the .proto files.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../venv.sh" python "$here/../../clients/python/requirements.txt"
