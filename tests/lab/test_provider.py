"""The lab itself: what its guests are given, what leaves it, and that it comes back and goes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from voip_stack import paths, providers
from voip_stack.problem import Problem
from voip_stack.providers.lab import egress, guests, images, limits, netns, nspawn, registry, units

# RFC 5737, TEST-NET-2: nobody's address. Nothing sent there may be seen outside the lab.
NOWHERE = "198.51.100.1"
TRY_TCP = """\
import socket, sys
with socket.socket() as s:
    s.settimeout(float(sys.argv[3]))
    sys.exit(1 if s.connect_ex((sys.argv[1], int(sys.argv[2]))) else 0)
"""
SEND_UDP = """\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"voip-lab", (sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def record(provider):
    return provider.record()


def reaches(provider, host, address, port, seconds=1.0):
    argv = ["python3", "-c", TRY_TCP, address, str(port), str(seconds)]
    return provider.run(host, argv, check=False).returncode == 0


class TestGuests:
    def test_each_runs_as_the_pillar_says(self, provider, pillar, on):
        for name, host in pillar.hosts.items():
            guest = provider.guests()[name]
            assert guest.state == "running"
            assert guest.memory_used_mib < guest.memory_mib <= host.memory_mib
            release = on(name, "cat", "/etc/os-release")
            assert f"VERSION_CODENAME={host.os}" in release
            assert on(name, "hostname").strip() == name
            nics = json.loads(on(name, "ip", "-json", "-4", "address"))
            found = {nic["ifname"]: nic["addr_info"][0]["local"] for nic in nics}
            found.pop("lo")
            assert found == {
                pillar.networks[network].interface: str(address)
                for network in ("internal", "external")
                if (address := getattr(host, network)) is not None
            }

    def test_systemd_is_content(self, provider, on):
        for name in provider.guests():
            assert on(name, "systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""

    def test_memory_beyond_the_limit_is_refused_to_the_guest_alone(self, provider):
        limit = provider.guests()["client-1"].memory_mib
        if limit >= limits.of_this_host()[1]:
            pytest.fail("this host is smaller than the guest's limit: scale() is wrong")
        argv = ["python3", "-c", f"x = bytearray({limit + 200} << 20)"]
        done = provider.run("client-1", argv, check=False)
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL, 1)
        assert provider.guests()["client-1"].state == "running"

    def test_cpu_time_is_limited(self, provider, record, pillar):
        group = limits.ROOT / ("" if limits.is_unified() else "cpu") / record.name / "client-1"
        wanted = int(provider.guests()["client-1"].vcpus * limits.PERIOD_US)
        if limits.is_unified():
            assert (group / "cpu.max").read_text().split() == [str(wanted), str(limits.PERIOD_US)]
        else:
            assert int((group / "cpu.cfs_quota_us").read_text()) == wanted

    def test_what_runs_by_the_provider_is_inside_the_limits(self, provider, record):
        for _ in range(3):
            process = subprocess.Popen(provider.command("client-1", ["sleep", "20"]))
            try:
                time.sleep(0.3)
                inside = limits.processes(record.name, "client-1")
                assert process.pid in inside
            finally:
                process.terminate()
                process.wait()


class TestReach:
    def test_arguments_arrive_as_they_are(self, provider):
        words = ["a b", "$HOME", "*", "'", '"', "-n", ";id", ""]
        done = provider.run("client-1", ["printf", "%s|", *words])
        assert done.stdout.decode() == "".join(f"{word}|" for word in words)

    def test_files_go_both_ways_with_their_mode(self, provider, on):
        content = os.urandom(300_000)
        provider.put("client-1", "/run/voip-test/a file", content, 0o640)
        assert provider.get("client-1", "/run/voip-test/a file") == content
        assert on("client-1", "stat", "-c", "%a", "/run/voip-test/a file").strip() == "640"
        provider.run("client-1", ["rm", "-r", "/run/voip-test"])

    def test_exit_codes_and_deadlines(self, provider):
        assert provider.run("client-1", ["sh", "-c", "exit 7"], check=False).returncode == 7
        with pytest.raises(Problem, match=r"exit 3.*gone"):
            provider.run("client-1", ["sh", "-c", "echo gone >&2; exit 3"])
        with pytest.raises(Problem, match="longer than 1 s"):
            provider.run("client-1", ["sleep", "20"], timeout=1)

    def test_nothing_of_the_hosts_environment_gets_in(self, provider, monkeypatch):
        monkeypatch.setenv("VOIP_TEST_SECRET", "visible")
        assert b"VOIP_TEST_SECRET" not in provider.run("client-1", ["env"]).stdout

    def test_a_shell_has_a_terminal(self, provider):
        argv = provider.command("client-1", ["tty"], tty=True)
        shown = subprocess.run(
            ["script", "-qec", shlex.join(argv), "/dev/null"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        ).stdout
        assert b"/dev/pts/" in shown


class TestEgress:
    @pytest.fixture
    def outside(self, record):
        """Ends with what left the lab's link for NOWHERE: must be nothing."""
        argv = ["tcpdump", "-lnni", netns.veth(record), "host", NOWHERE]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dump:
            assert dump.stderr.readline()  # it listens
            yield
            time.sleep(0.3)
            dump.terminate()
            assert dump.stdout.read().strip() == b""

    @pytest.mark.usefixtures("outside")
    def test_what_is_no_package_download_is_dropped_and_counted(self, provider):
        before = provider.dropped()
        assert not reaches(provider, "sip-1", NOWHERE, 22)
        provider.run("sip-1", ["python3", "-c", SEND_UDP, NOWHERE, "5060"])
        provider.run("sip-1", ["ping", "-c1", "-W1", NOWHERE], check=False)
        assert provider.dropped() >= before + 3

    @pytest.mark.usefixtures("outside")
    def test_programs_in_the_namespace_reach_the_bridges_only(self, provider):
        before = provider.dropped()
        for port in (443, 5061):
            argv = provider.namespace_command(["python3", "-c", TRY_TCP, NOWHERE, str(port), "1"])
            assert subprocess.run(argv, check=False).returncode != 0
        assert provider.dropped() > before

    @pytest.mark.usefixtures("outside")
    def test_the_outside_has_no_way_out(self, provider, pillar, on):
        assert "default" not in on("client-1", "ip", "route")
        gateway = str(pillar.networks["external"].gateway)
        provider.run("client-1", ["ip", "route", "add", "default", "via", gateway])
        try:
            assert not reaches(provider, "client-1", NOWHERE, 443)
            for host in ("pbx-1", "devstack"):
                address = str(pillar.hosts[host].internal)
                assert provider.run(
                    "client-1", ["ping", "-c1", "-W1", address], check=False
                ).returncode
            master = str(pillar.networks["internal"].gateway)
            assert not reaches(provider, "client-1", master, pillar.master.publish)
        finally:
            provider.run("client-1", ["ip", "route", "del", "default"])

    def test_the_package_mirror_and_the_master_are_reached(self, provider, pillar, on):
        sources = on("pbx-1", "sh", "-c", "cat /etc/apt/sources.list.d/*.list")
        uri = next(word for word in sources.split() if word.startswith("http"))
        code = on("pbx-1", "curl", "-sSo", "/dev/null", "-w", "%{http_code}", f"{uri}/")
        assert code.startswith(("2", "3", "4"))
        gateway = str(pillar.networks["internal"].gateway)
        assert reaches(provider, "pbx-1", gateway, pillar.master.publish, 5)

    def test_the_hosts_own_network_is_untouched(self, pillar, record):
        shown = subprocess.run(["ip", "-4", "-json", "address"], capture_output=True, check=True)
        own = {info["local"] for nic in json.loads(shown.stdout) for info in nic["addr_info"]}
        assert not own & {str(network.gateway) for network in pillar.networks.values()}
        listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True)
        at = [line.split()[3] for line in listening.stdout.splitlines()
              if line.split()[3].endswith(f":{pillar.master.publish}")]  # fmt: skip
        assert at
        assert not any(
            address.startswith(("0.0.0.0", "*", "[::]"))  # noqa: S104
            for address in at
        )

    def test_a_guest_cannot_reach_the_host(self, provider, record):
        address = str(netns.addresses.host_end(record.link))
        assert not reaches(provider, "sip-1", address, 22)
        assert not reaches(provider, "sip-1", address, 443)


class TestRepair:
    def test_a_killed_guest_is_started_again(self, provider, record, eventually):
        nspawn.kill(record, "client-1")
        assert provider.guests()["client-1"].state == "stopped"
        with pytest.raises(Problem, match="does not run"):
            provider.run("client-1", ["true"])
        provider.ensure_guests(lambda text: None)
        assert provider.guests()["client-1"].state == "running"
        assert self._has_its_cable(provider)

    def test_what_a_killed_nspawn_left_is_cleared(self, provider):
        outer = provider.record().guests["client-1"].pid
        for pid in [*_children(outer), outer]:
            os.kill(pid, signal.SIGKILL)
        provider.ensure_guests(lambda text: None)
        assert provider.guests()["client-1"].state == "running"
        assert self._has_its_cable(provider)

    def test_a_guest_reboots_by_itself(self, provider, eventually):
        before = nspawn.leader(provider.record(), "client-1")
        provider.run("client-1", ["systemctl", "reboot"], check=False)

        def is_back():
            now = nspawn.leader(provider.record(), "client-1")
            return now not in (None, before) and nspawn.is_up(provider.record(), "client-1")

        eventually(is_back, 30)
        eventually(lambda: self._has_its_cable(provider), 5)

    @staticmethod
    def _has_its_cable(provider):
        argv = ["ping", "-c1", "-W1", str(provider.pillar.networks["external"].gateway)]
        return provider.run("client-1", argv, check=False).returncode == 0

    def test_again_changes_nothing(self, provider):
        before = {name: p.pid for name, p in provider.record().guests.items()}
        said = []
        provider.prepare_network(said.append)
        provider.ensure_guests(said.append)
        assert {name: p.pid for name, p in provider.record().guests.items()} == before
        assert not [line for line in said if line.startswith(("start", "image"))]


def _children(pid):
    return [
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]  # fmt: skip


class TestFullDisk:
    def test_a_copy_that_does_not_fit_leaves_nothing(self, provider, monkeypatch, tmp_path):
        from voip_stack.packages.mirror import host_mirror

        state = tmp_path / "state"
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", state], check=True)
        try:
            kind = images.kind_of(provider.pillar, "client-1")
            image = images.ensure(
                provider.cache, kind, host_mirror(), tmp_path / "logs", lambda text: None
            )
            monkeypatch.setenv("VOIP_STATE_DIR", str(state))
            with pytest.raises(Problem, match="too full"):
                guests.require_space([image])
            with pytest.raises(Problem, match="disk is full") as caught:
                guests.copy("client-1", image)
            assert "./voip up" in caught.value.how
            assert list(guests.directory().iterdir()) == []
        finally:
            subprocess.run(["umount", state], check=True)


class TestSideBySide:
    @pytest.fixture
    def other(self, pillar, monkeypatch, tmp_path):
        """A second lab, of the outside alone; gone at the end whatever happens."""
        monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
        small = pillar.model_copy(update={"hosts": {"client-1": pillar.hosts["client-1"]}})
        lab = providers.provider_class("lab")(small)
        lab.prepare_network(lambda text: None)
        yield lab
        monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
        (tmp_path / "state").mkdir(exist_ok=True)
        lab.destroy(lambda text: None)

    def test_two_labs_with_the_same_addresses(self, provider, record, other, monkeypatch):
        other.ensure_guests(lambda text: None)
        second = other.record()
        assert second.name != record.name
        assert second.link != record.link
        listed = {lab.name: lab for lab in providers.labs_of_the_machine()}
        assert listed[second.name].state == "running"
        assert listed[second.name].guests == 1
        # Same address in both, another machine behind it.
        ids = {other.run("client-1", ["cat", "/etc/machine-id"]).stdout}
        monkeypatch.delenv("VOIP_STATE_DIR")
        ids.add(provider.run("client-1", ["cat", "/etc/machine-id"]).stdout)
        assert len(ids) == 2
        assert provider.run("client-1", ["ping", "-c1", "-W2", "198.18.64.10"]).returncode == 0

    def test_one_whose_checkout_is_gone_is_destroyed_from_another(
        self, provider, record, other, monkeypatch
    ):
        second = other.record()
        second.checkout = f"{second.state_dir}/gone"
        second.save()
        Path(second.state_dir).rename(f"{second.state_dir}.gone")
        monkeypatch.delenv("VOIP_STATE_DIR")
        listed = {lab.name: lab for lab in providers.labs_of_the_machine()}
        assert "checkout gone" in listed[second.name].state
        providers.destroy_lab(second.name, lambda text: None)
        assert second.name not in {lab.name for lab in providers.labs_of_the_machine()}
        _assert_nothing_is_left(second)
        # The first one has lost nothing by it.
        assert netns.exists(record.name)
        assert provider.guests()["client-1"].state == "running"

    def test_destroy_is_complete_and_harmless_when_repeated(self, other):
        other.ensure_guests(lambda text: None)
        second = other.record()
        other.destroy(lambda text: None)
        other.destroy(lambda text: None)
        _assert_nothing_is_left(second)
        assert not guests.directory().exists()
        assert all(guest.state == "absent" for guest in other.guests().values())


def _assert_nothing_is_left(record):
    assert not netns.path(record.name).exists()
    assert not Path("/sys/class/net", netns.veth(record)).exists()
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    assert egress.table_name(record.name) not in tables.stdout
    assert not any((tree / record.name).exists() for tree in limits._trees())
    assert registry.find(record.name) is None
    assert not any(process.is_alive() for process in record.guests.values())
    assert record.state_dir not in Path("/proc/self/mounts").read_text()


def test_units_match_the_guests(provider, on):
    """A guest made by an older checkout would have an older network script."""
    script = on("client-1", "cat", "/usr/local/lib/voip-stack/network")
    assert script == units.NETWORK_SCRIPT
    assert paths.state_dir().is_dir()
