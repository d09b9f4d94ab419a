#!/usr/bin/env bash
# The same as run_distribute_train.sh with one worker, on one device.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_distribute_train.sh" "$@" workers=1
