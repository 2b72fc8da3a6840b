"""Run on a host that may use Redis: log in and ask, over and over, until standard input ends.

Each time by a connection made for it, with the password that the Vault gives at that moment, and by
one that stays. Prints one JSON object. Argument: a JSON object {"redis": [address, port], "vault":
voip_vault_client.Session's arguments, "mount", "path"}.
"""

import json
import select
import sys
import time

import redis

sys.path.append("/var/cache/salt/minion/extmods/utils")
import voip_vault_client

CA_FILE = "/etc/voip-stack/tls/ca.crt"
where = json.loads(sys.argv[1])
with open("/etc/voip-stack/vault/approle.json", encoding="utf-8") as file:
    identity = json.load(file)
vault = voip_vault_client.Session(*where["vault"], CA_FILE)
vault.login("approle", identity["role_id"], identity["secret_id"])


def connect():
    known = vault.read(f"{where['mount']}/data/{where['path']}")["data"]
    address, port = where["redis"]
    return redis.Redis(
        host=address,
        port=port,
        username=known["username"],
        password=known["password"],
        ssl=True,
        ssl_ca_certs=CA_FILE,
        socket_timeout=10,
    )


done, failures, lasting = 0, [], connect()
while not select.select([sys.stdin], [], [], 0.5)[0]:
    for is_new in (False, True):
        done += 1
        try:
            client = connect() if is_new else lasting
            client.ping()
            if is_new:
                client.close()
        except (redis.RedisError, OSError) as error:
            failures.append([time.time(), is_new, str(error)])
print(json.dumps({"done": done, "failures": failures}))
