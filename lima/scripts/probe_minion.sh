#!/bin/bash
set -eu -o pipefail
if ! timeout 600s bash -c "until [ -s /opt/voip-minion/.lock.sha256 ]; do sleep 3; done"; then
    echo >&2 "/opt/voip-minion is not complete"
    exit 1
fi
