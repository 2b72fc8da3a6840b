#!/bin/sh
# Compile the lock files from the .in files. Needs uv. The minion's versions follow the host's.
set -eu
cd "$(dirname "$0")"
lock() {
    uv pip compile --quiet --universal --no-annotate --no-header --no-emit-index-url \
        --generate-hashes --python-version 3.11 "$@"
}
# timelib: C without a wheel, for one Jinja filter of Salt. A fresh Debian has no compiler.
case "${1:-all}" in host|all) lock --no-emit-package timelib host.in -o host.lock ;; esac
case "${1:-all}" in minion|all) lock -c host.lock minion.in -o minion.lock ;; esac
case "${1:-all}" in devstack|all) lock -c host.lock devstack.in -o devstack.lock ;; esac
