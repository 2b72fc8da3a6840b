#!/bin/bash
set -eu -o pipefail
# shellcheck disable=SC2043 # the list of the pillar takes its place
for pair in __ADDRESSES__; do
    if ! timeout 60s bash -c "until ip -4 -o address show dev ${pair%%=*} | grep -qF ' ${pair#*=}/'; do sleep 2; done"; then
        echo >&2 "no ${pair#*=} on ${pair%%=*}"
        exit 1
    fi
done
