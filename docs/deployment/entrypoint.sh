#!/bin/sh
set -e

# Put here what must be done before the server starts, for instance migrations.

# The server takes the place of this shell, and is PID 1. Without `exec` it would not get the SIGTERM of `docker stop`.
exec "$@"
