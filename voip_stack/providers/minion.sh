#!/bin/bash
# Build the minion's environment from its lock file: hashes are checked, and nothing comes in that
# the lock does not name. Configuration and keys come
# later by another way, never here: this text is readable in a guest's lima.yaml. Lima runs it at
# every boot; it does nothing while the lock file is unchanged.
set -eux -o pipefail
lock=/etc/voip-stack/minion.lock
done_file=/opt/voip-minion/.lock.sha256
wanted=$(sha256sum "$lock" | cut -d' ' -f1)
if [ "$(cat "$done_file" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends python3-venv python3-apt nftables ca-certificates
python3 -m venv --system-site-packages /opt/voip-minion
/opt/voip-minion/bin/pip install --quiet --no-input --no-deps --require-hashes -r "$lock"
echo "$wanted" > "$done_file"
