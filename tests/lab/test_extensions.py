"""Extensions of the checkout on the minions: a newer one is used at once, by beacons too."""

from voip_stack.master import client
from voip_stack.up.run import wait_for_minions

HOST = "media-2"
# A helper module of the beacons, as the minion has it.
HELPER = "/var/cache/salt/minion/extmods/utils/voip_beats.py"
UNIT = "salt-minion.service"


def started(on, host):
    return on(host, "systemctl", "show", "-p", "MainPID", "--value", UNIT).strip()


def test_a_minion_that_watches_with_older_helpers_is_restarted(on, pillar):
    hosts = pillar.minions()
    before = {host: started(on, host) for host in hosts}
    newest = on(HOST, "sha256sum", HELPER)
    on(HOST, "sh", "-c", f"echo '# of an older checkout' >> {HELPER}")
    done = client.runner("voip_deploy.sync")
    assert done["restarted"] == [HOST]
    assert done["synced"] == {HOST: ["utils.voip_beats"]}
    assert on(HOST, "sha256sum", HELPER) == newest
    assert [host for host in hosts if started(on, host) != before[host]] == [HOST]
    wait_for_minions(pillar, lambda _: None)
    assert client.runner("voip_deploy.sync") == {"synced": {}, "restarted": []}
