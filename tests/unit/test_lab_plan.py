"""What the lab decides before it does anything: addresses, egress, limits, wheels, records."""

import ctypes
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from voip_stack import paths
from voip_stack.packages.mirror import Mirror
from voip_stack.pillar import load
from voip_stack.problem import Problem
from voip_stack.providers.lab import (
    addresses,
    aptconf,
    commands,
    debpool,
    egress,
    guests,
    images,
    inotify,
    limits,
    netns,
    nspawn,
    registry,
    survey,
    wheelhouse,
)
from voip_stack.providers.lab.provider import LabProvider

PILLAR = load(paths.pillar_dir())
NETWORKS = {name: definition.cidr for name, definition in PILLAR.networks.items()}


def needed(text, why="something"):
    return addresses.Needed(IPv4Network(text), why)


class TestInotify:
    def test_what_is_left_must_do_for_the_guests(self):
        assert inotify.judge(limit=128, used=98, needed=30) is None
        problem = inotify.judge(limit=128, used=99, needed=30)
        assert "30 inotify instances; 99 of 128 are in use" in problem.what
        assert "sysctl -w fs.inotify.max_user_instances=1024" in problem.how

    def test_an_instance_of_this_process_is_counted(self):
        descriptor = ctypes.CDLL(None).inotify_init()
        try:
            assert inotify.instances(os.getpid()) == 1
        finally:
            os.close(descriptor)
        assert inotify.instances(os.getpid()) == 0


class TestAddresses:
    def test_links_of_two_labs_differ(self):
        first = addresses.choose_link("00000000", [])
        assert first == IPv4Network("169.254.1.0/30")
        assert addresses.choose_link("00000000", [first]) == IPv4Network("169.254.1.4/30")
        assert addresses.host_end(str(first)) == "169.254.1.1"
        assert addresses.lab_end(str(first)) == "169.254.1.2"

    def test_links_leave_out_metadata_services(self):
        taken = {str(addresses.choose_link(f"{seed:x}", []))[:11] for seed in range(0, 16384, 7)}
        assert not any(link.startswith(("169.254.169", "169.254.170")) for link in taken)

    def test_no_link_is_left(self):
        with pytest.raises(Problem, match="No free link-local"):
            addresses.choose_link("0", [IPv4Network("169.254.0.0/16")])

    def test_overlap_names_the_key_and_what_needs_it(self):
        found = addresses.overlaps(
            {"external": IPv4Network("198.18.64.0/24")},
            [needed("198.18.0.0/15", "this host's route to 198.18.0.0/15")],
        )
        assert len(found) == 1
        assert "route to 198.18.0.0/15" in found[0].what
        assert found[0].where == "pillar/topology.yaml: networks.external.cidr"
        assert found[0].how

    def test_no_overlap(self):
        assert addresses.overlaps(NETWORKS, [needed("10.0.0.0/8"), needed("172.16.0.1/32")]) == []

    def test_resolvers_that_guests_can_ask(self):
        text = "nameserver 127.0.0.53\nnameserver ::1\nnameserver 10.1.2.3\n# nameserver 10.9.9.9\n"
        assert addresses.parse_resolvers(text) == ["10.1.2.3"]


class TestEgress:
    EXITS = egress.Exits(["10.1.2.3"], [("10.4.5.6", 3128)])

    def inside(self):
        return egress.namespace_rules(
            "192.168.64.1", ("169.254.1.1", (4505, 4506)), list(NETWORKS.values()), self.EXITS
        )

    def outside(self):
        link = IPv4Network("169.254.1.0/30")
        return egress.host_rules("voip-1", "vs1", link, (4505, 4506), self.EXITS)

    @pytest.mark.parametrize("side", ["inside", "outside"])
    def test_the_kernel_takes_the_rules(self, side):
        assert shutil.which("nft"), "nftables is needed"
        rules = getattr(self, side)()
        # Its own namespace: checking needs the right to change, and changes nothing.
        argv = ["unshare", "--net", "--map-root-user", "nft", "--check", "--file", "-"]
        done = subprocess.run(argv, input=rules, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_only_web_and_names_leave(self):
        accepted = [line.strip() for line in self.inside().splitlines()
                    if 'oifname "uplink"' in line and line.endswith("accept")]  # fmt: skip
        wanted = ("tcp dport { 80, 443 }", "dport 53", "ct status dnat", "dport 3128", "ct state")
        assert all(any(part in line for part in wanted) for line in accepted)
        assert "policy drop" in self.inside()

    def test_lab_names_are_table_names(self):
        assert egress.table_name("voip-1a2b") == "voip_1a2b"


class TestHostFirewall:
    def ask(self, monkeypatch, policy):
        """Whether and how the host's FORWARD chain is told to let a lab by."""
        told = []

        def run(argv, **_):
            told.append(argv)
            return f"-P FORWARD {policy}\n"

        monkeypatch.setattr(netns.shutil, "which", lambda name: f"/sbin/{name}")
        monkeypatch.setattr(netns, "run", run)
        absent = subprocess.CompletedProcess([], 1)
        monkeypatch.setattr(netns.subprocess, "run", lambda *_, **__: absent)
        record = registry.Record("voip-1", "", "", "", "", "", "169.254.1.0/30")
        netns.pass_host_firewall(record)
        return [" ".join(argv) for argv in told if "-I" in argv]

    def test_dockers_policy_lets_the_lab_by(self, monkeypatch):
        told = self.ask(monkeypatch, "DROP")
        assert told == [
            f"iptables -w -I FORWARD {flag} vs1 -m comment --comment voip-1 -j ACCEPT"
            for flag in ("-i", "-o")
        ]

    def test_an_open_host_is_left_alone(self, monkeypatch):
        assert self.ask(monkeypatch, "ACCEPT") == []


class TestLimits:
    WANTED = {"a": limits.Limit(4, 4096), "b": limits.Limit(2, 2048)}  # noqa: RUF012

    def test_a_large_host_changes_nothing(self):
        assert limits.scale(self.WANTED, 8, 65536) == self.WANTED
        assert limits.notes(self.WANTED, self.WANTED) == []

    def test_a_small_host_shares_in_proportion_and_says_so(self):
        given = limits.scale(self.WANTED, 2, 3840)
        assert given == {"a": limits.Limit(2, 2048), "b": limits.Limit(2, 1024)}
        assert limits.notes(self.WANTED, given) == [
            "scaled to this host: a 2 of 4 CPUs, 2048 of 4096 MiB; b 2 of 2 CPUs, 1024 of 2048 MiB"
        ]

    def test_no_guest_gets_less_than_it_can_boot_with(self):
        assert limits.scale(self.WANTED, 1, 100)["b"].memory_mib == limits.SMALLEST_MIB


class TestWheelhouse:
    LOCK = (
        "salt==3008.4 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "async-timeout==5.0.1 ; python_full_version < '3.11.3' \\\n    --hash=sha256:cc\n"
        "pywin32==312 ; sys_platform == 'win32' \\\n    --hash=sha256:dd\n"
        "# a comment\n"
    )

    def test_markers_are_the_guests(self):
        older = wheelhouse.requirements(self.LOCK, "3.11.2")
        assert older == {
            "salt": "salt==3008.4 --hash=sha256:aa --hash=sha256:bb",
            "async-timeout": "async-timeout==5.0.1 --hash=sha256:cc",
        }
        assert list(wheelhouse.requirements(self.LOCK, "3.13.5")) == ["salt"]

    def test_the_lock_has_what_a_minion_needs(self):
        text = wheelhouse.locks(["devstack"])[0].read_text()
        for python in wheelhouse.PYTHON.values():
            found = wheelhouse.requirements(text, python)
            assert {"salt", "hvac", "cryptography", "psycopg-binary", "redis"} <= set(found)
            assert all("--hash=sha256:" in entry for entry in found.values())

    def test_pip_problem_names_the_index(self):
        text = "WARNING: Retrying HTTPSConnectionPool(host='index.test', port=443)\n"
        text += "ERROR: No matching distribution found for salt==3008.4\n"
        problem = wheelhouse.pip_problem(text, Path("pip.log"))
        assert "No matching distribution found for salt" in problem.what
        assert problem.where == "index.test; log pip.log"


class TestImages:
    MIRROR = Mirror("http://mirror.test/debian", "http://mirror.test/debian-security")

    def test_three_images_serve_five_hosts(self):
        kinds = images.kinds(PILLAR, list(PILLAR.hosts))
        assert [str(kind) for kind in kinds] == [
            "bookworm minion", "trixie minion devstack", "trixie client",
        ]  # fmt: skip

    def test_the_key_covers_the_mirror_and_its_settings(self):
        kind = images.kind_of(PILLAR, "sip-1")
        other = Mirror("http://other.test/debian", self.MIRROR.security)
        proxied = Mirror(
            self.MIRROR.debian, self.MIRROR.security, 'Acquire::http::Proxy "http://p.test:3128";\n'
        )
        keys = {images.key(kind, mirror) for mirror in (self.MIRROR, other, proxied)}
        assert len(keys) == 3

    def test_a_dead_mirror_is_named(self, tmp_path):
        """For real: mmdebstrap asks a port that nothing listens on."""
        from voip_stack.cache import Cache

        dead = Mirror("http://127.0.0.1:9/debian", "http://127.0.0.1:9/debian-security")
        kind = images.Kind("bookworm", is_minion=False)
        cache = Cache(tmp_path / "cache")
        with pytest.raises(Problem, match="did not deliver") as caught:
            images.ensure(cache, kind, dead, tmp_path / "logs", lambda text: None)
        assert "127.0.0.1:9" in caught.value.where
        assert "apt" in caught.value.how
        assert list((cache.root / "images").iterdir()) == []


class TestApt:
    OPTIONS = (
        'Acquire::http::Proxy "http://proxy.test:3128";\n'
        'Acquire::https::CaInfo "/etc/ssl/host-only.pem";\nAcquire::Retries "3";\n'
    )

    def test_guests_get_the_hosts_settings_but_not_its_files(self):
        text = aptconf.options(Mirror("http://m.test", "http://s.test", self.OPTIONS))
        assert "proxy.test:3128" in text
        assert "Retries" in text
        assert "host-only.pem" not in text

    def test_the_proxy_is_let_out(self):
        mirror = Mirror("http://m.test", "http://s.test", self.OPTIONS)
        assert aptconf.proxies(mirror) == [("proxy.test", 3128)]


class TestGuests:
    def test_network_environment(self):
        text = guests.network_environment(PILLAR, "sip-1")
        assert text.splitlines() == [
            "INTERNAL=192.168.64.10/24", "INTERNAL_NIC=eth0", "GATEWAY=192.168.64.1",
            "EXTERNAL=198.18.64.10/24", "EXTERNAL_NIC=eth1",
            "EXTERNAL_IPV6=fd64:c612:4000::10/64",
        ]  # fmt: skip
        assert "INTERNAL" not in guests.network_environment(PILLAR, "client-1")
        assert "GATEWAY" not in guests.network_environment(PILLAR, "client-1")

    def test_a_running_guest_is_given_addresses_that_are_new(self, monkeypatch, tmp_path):
        monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
        file = guests.root("sip-1") / "etc/voip-stack/network.env"
        assert not guests.has_addresses_of(PILLAR, "sip-1")
        file.parent.mkdir(parents=True)
        file.write_text(guests.network_environment(PILLAR, "sip-1"))
        assert guests.has_addresses_of(PILLAR, "sip-1")
        assert not guests.has_addresses_of(PILLAR, "media-1")

    def test_external_links_fit_and_differ(self):
        names = ["sip-1", "a-very-long-host-name-1", "a-very-long-host-name-2"]
        links = {nspawn.external_link(name) for name in names}
        assert len(links) == 3
        assert all(len(link) <= 15 for link in links)

    def test_too_little_space_is_said_before_copying(self, monkeypatch, tmp_path):
        monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
        usage = shutil.disk_usage(tmp_path)._replace(free=300 * 2**20)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(Problem, match="300 MiB free") as caught:
            guests.require_space([tmp_path])
        assert "VOIP_STATE_DIR" in caught.value.how

    def test_no_link_of_a_guest_leads_out(self, tmp_path):
        base = tmp_path / "guest"
        (base / "etc").mkdir(parents=True)
        outside = tmp_path / "outside"
        outside.mkdir()
        (base / "etc" / "salt").symlink_to(outside)
        with pytest.raises(Problem, match="leads out"):
            guests._write(base, "etc/salt/minion", "id: x\n")
        (base / "etc" / "hostname").symlink_to(outside / "file")
        guests._write(base, "etc/hostname", "x\n")
        assert list(outside.iterdir()) == []


class TestPool:
    def test_what_one_lab_downloaded_the_next_one_has(self, tmp_path):
        from voip_stack.cache import Cache

        cache, first, second = Cache(tmp_path / "c"), tmp_path / "first", tmp_path / "second"
        archives = first / debpool.ARCHIVES
        (archives / "partial").mkdir(parents=True)
        (archives / "a_1_amd64.deb").write_bytes(b"package")
        (archives / "b_1_amd64.deb").symlink_to("/etc/passwd")
        assert debpool.collect(cache, "bookworm", "sip-1", first) == 1
        assert debpool.collect(cache, "bookworm", "sip-1", first) == 0
        assert debpool.seed(cache, "bookworm", "sip-1", second) == 1
        assert os.listdir(second / debpool.ARCHIVES) == ["a_1_amd64.deb"]
        assert debpool.seed(cache, "bookworm", "pbx-1", second) == 0


class TestRegistry:
    @pytest.fixture(autouse=True)
    def _own_directory(self, monkeypatch, tmp_path):
        monkeypatch.setattr(registry, "DIRECTORY", tmp_path / "labs")

    def record(self, tmp_path, name="state"):
        state = tmp_path / name
        state.mkdir()
        return registry.new(state, tmp_path, "169.254.1.0/30")

    def test_survives_a_round_trip(self, tmp_path):
        record = self.record(tmp_path)
        record.guests["sip-1"] = registry.Process.of(os.getpid())
        record.save()
        assert registry.find(record.name) == record
        assert registry.records()[0].has_running()

    def test_two_checkouts_two_names(self, tmp_path):
        assert self.record(tmp_path, "a").name != self.record(tmp_path, "b").name

    def test_a_broken_file_hides_no_other(self, tmp_path):
        self.record(tmp_path).save()
        (registry.DIRECTORY / "voip-00000000.json").write_text("{half")
        assert len(registry.records()) == 1

    def test_a_reused_process_number_is_not_the_guest(self, tmp_path):
        process = registry.Process.of(os.getpid())
        process.started -= 100
        assert not process.is_alive()

    def test_after_a_reboot_it_is_known_as_stopped(self, tmp_path):
        record = self.record(tmp_path)
        record.boot_id = "another"
        # The number is in use again, by chance with the same start time.
        record.guests["sip-1"] = registry.Process.of(os.getpid())
        assert survey.state(record) == "stopped (the machine was rebooted)"
        assert survey.summary(record).guests == 0

    def test_a_gone_checkout_is_told(self, tmp_path):
        record = self.record(tmp_path)
        record.checkout = str(tmp_path / "gone")
        assert survey.state(record) == "stopped, checkout gone"


class TestInterrupt:
    def test_ctrl_c_ends_what_threads_wait_for(self, tmp_path):
        """As Ctrl-C does: the signal comes to the main thread only, the commands must end."""
        timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
        started = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            LabProvider._parallel(
                lambda number: commands.run_long(["sleep", "120"], tmp_path / f"{number}.log"),
                range(4),
            )
        assert time.monotonic() - started < 60

    def test_one_failure_ends_the_others(self, tmp_path):
        def work(number):
            if number == 0:
                raise Problem("no")
            commands.run_long(["sleep", "120"], tmp_path / "log")

        started = time.monotonic()
        with pytest.raises(Problem, match="no"):
            LabProvider._parallel(work, range(2))
        assert time.monotonic() - started < 60


class TestMachine:
    def test_without_root_it_says_what_to_do(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        (problem,) = LabProvider(PILLAR).problems()
        assert "needs root" in problem.what
        assert "lima" in problem.how
        assert problem.code == 3

    def test_elsewhere_it_names_lima(self, monkeypatch):
        monkeypatch.setattr(platform, "system", lambda: "Darwin")
        (problem,) = LabProvider(PILLAR).problems()
        assert "lima" in problem.how
