#!/bin/sh
set -e

# What must be done before the server starts, migrations for instance, stands here.

# Then the server takes the place of this shell, and is PID 1: without `exec` it would not hear of `docker stop`.
exec "$@"
