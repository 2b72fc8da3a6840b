"""A registration that is repeated soon, at each proxy: when it is not written, and when it is.

xmin, which another value is given with each write of a row, tells whether there was one.
"""

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.conftest import way
from tests.lab.proxies import KAMAILIO, PROXIES
from voip_stack import vault
from voip_stack.problem import Problem

PROBE = Path(__file__).with_name("sip_probe.py").read_bytes()
# Whom no call registers.
NUMBER = "1003"
SHORT_S, LONG_S = 60, 600


class Device:
    """One connection in client-1, by which it registers as it is told."""

    def __init__(self, argv):
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def register(self, expires=LONG_S, **how):
        """{address: seconds it is registered for}, as the answer says."""
        self._process.stdin.write(json.dumps({"expires": expires} | how) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        assert [code for code, _ in found["statuses"]] == [401, 200], found
        self.address = f"sip:{NUMBER}@{found['local']};transport=tls"
        told = re.findall(r"<([^>]+)>[^,]*?;expires=(\d+)", found["contact"] or "")
        return {address: int(seconds) for address, seconds in told}

    def hang_up(self):
        """Ends the TLS connection as well: the proxy's side of that may take its time."""
        self._process.stdin.close()
        self._process.wait(10)

    def kill(self):
        self._process.kill()
        self._process.wait(10)


def registering(provider, order):
    """The command of a device of NUMBER in client-1; order: how it gets to its proxy."""
    provider.put("client-1", "/run/sip_probe.py", PROBE)
    password = vault.subscriber_passwords([NUMBER])[NUMBER]
    order = {"do": "registrations", "user": NUMBER, "password": password} | order
    return provider.command("client-1", ["python3", "/run/sip_probe.py", json.dumps(order)])


def rows(on, proxy):
    """{address: xmin} of the number's rows."""
    text = f"select contact, xmin from {proxy.locations} where username = '{NUMBER}'"  # noqa: S608
    return dict(line.split("|") for line in answered(on, text))


def answered(on, text):
    """Lines of the database's answer."""
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", text, "kamailio"]
    return [line for line in on("devstack", *argv).splitlines() if line]


@pytest.fixture
def device(provider, to_proxy):
    """device(): another one of NUMBER."""
    there = []

    def connect():
        there.append(Device(registering(provider, to_proxy())))
        return there[-1]

    yield connect
    for one in there:
        one.kill()


@pytest.fixture
def writes(on, proxy):
    """writes() -> rows of the number at this proxy."""
    return lambda: rows(on, proxy)


@pytest.fixture(autouse=True)
def nobody(tell_proxy, writes, eventually):
    """NUMBER is not registered, before and after."""

    def forget():
        tell_proxy("unregister", NUMBER)
        eventually(lambda: not writes(), 20)

    forget()
    yield
    forget()


@pytest.fixture
def repeated(device, writes, eventually):
    """A device whose registration was repeated, and what it was told last.

    A proxy that has just started knows no version of the subscribers yet.
    """
    mine = device()
    mine.register()

    def again():
        written = writes()
        told = mine.register()
        assert list(told) == list(written) == [mine.address]
        return writes() == written and told[mine.address]

    return mine, eventually(again, 10)


def test_it_is_told_what_is_left_and_no_more(repeated, tell_proxy, writes):
    mine, _ = repeated
    written = writes()
    time.sleep(3)
    told = mine.register()
    assert writes() == written
    assert LONG_S - 60 < told[mine.address] <= LONG_S - 3
    (known,) = tell_proxy("registrations", NUMBER)
    assert 0 <= told[mine.address] - known["expires_s"] <= 10


def test_after_a_quarter_of_it_it_is_written_and_told_in_full(device, writes):
    mine = device()
    mine.register(SHORT_S)
    written = writes()
    time.sleep(SHORT_S / 4 + 2)
    assert mine.register(SHORT_S) == {mine.address: SHORT_S}
    assert writes()[mine.address] != written[mine.address]


@pytest.mark.parametrize(
    "change",
    [{"expires": LONG_S + 60}, {"contact": "<{address}>;q=0.5"}],
    ids=["for how long", "how gladly"],
)
def test_what_is_said_anew_is_written(change, repeated, writes):
    mine, _ = repeated
    written = writes()
    told = mine.register(**json.loads(json.dumps(change).replace("{address}", mine.address)))
    assert told == {mine.address: change.get("expires", LONG_S)}
    assert writes()[mine.address] != written[mine.address]


def test_by_another_connection_it_is_written(repeated, device, writes):
    mine, _ = repeated
    written = writes()
    told = device().register(contact=f"<{mine.address}>")
    assert told == {mine.address: LONG_S}
    assert writes()[mine.address] != written[mine.address]


def test_unregistered_and_registered_again_it_is_written(repeated, writes, eventually):
    mine, _ = repeated
    assert mine.register(expires=0) == {}
    eventually(lambda: not writes(), 5)
    assert mine.register() == {mine.address: LONG_S}
    assert list(writes()) == [mine.address]


def test_once_it_was_taken_out_it_is_written(repeated, tell_proxy, writes, eventually):
    """As subscribers.managed and rotate do it."""
    mine, _ = repeated
    assert tell_proxy("unregister", NUMBER) is True
    eventually(lambda: not writes(), 5)
    assert mine.register() == {mine.address: LONG_S}
    assert list(writes()) == [mine.address]


def test_its_row_goes_with_its_connection(repeated, writes, eventually):
    mine, _ = repeated
    mine.hang_up()
    eventually(lambda: not writes(), 20)


@pytest.fixture(scope="session")
def ends(provider, pillar, compiled, on):
    """{proxy: (left, its row is there, rows after it)}, of a short registration that was repeated.

    left: what it was told. At all proxies at once, since it takes a minute.
    """

    def wait(proxy):
        order = way(pillar, compiled("sip-1")["ports"][proxy.name], "tls")
        mine = Device(registering(provider, order | {"domain": pillar.site.domain}))
        try:
            mine.register(SHORT_S)
            time.sleep(8)
            left = mine.register(SHORT_S)[mine.address]
            time.sleep(left - 4)
            meanwhile, until = rows(on, proxy), time.monotonic() + 25
            while (after := rows(on, proxy)) and time.monotonic() < until:
                time.sleep(0.5)
            return left, list(meanwhile) == [mine.address], after
        finally:
            mine.kill()

    with ThreadPoolExecutor(len(PROXIES)) as pool:
        return dict(zip(PROXIES, pool.map(wait, PROXIES), strict=True))


def test_its_row_goes_with_its_end(proxy, ends, tell_proxy):
    left, is_there, after = ends[proxy]
    assert left <= SHORT_S - 8
    assert is_there
    assert not after
    assert not tell_proxy("registrations", NUMBER)


def test_several_contacts_are_all_told(device, writes):
    one, other = device(), device()
    one.register()
    other.register()
    for mine in (one, other, one, one):
        assert set(mine.register()) == {one.address, other.address}
    assert set(writes()) == {one.address, other.address}
    assert other.register(expires=0).keys() == {one.address}
    assert one.register().keys() == {one.address}
    assert list(writes()) == [one.address]


@pytest.mark.parametrize("proxy", [KAMAILIO], ids=["kamailio"], scope="module")
def test_several_contacts_are_each_repeated(device, writes):
    """OpenSIPS writes where a number has several."""
    one, other = device(), device()
    one.register()
    other.register()
    written = writes()
    for mine in (one, other, one, one):
        told = mine.register()
        assert set(told) == {one.address, other.address}
        assert LONG_S - 60 < told[mine.address] <= LONG_S
    assert writes() == written
    # One that says what the other one did is no repetition.
    assert one.register(contact=f"<{other.address}>")[other.address] == LONG_S
    assert other.register()[other.address] == LONG_S
    assert writes()[other.address] != written[other.address]


@pytest.mark.parametrize("way", ["kill", "restart"])
def test_a_restart_brings_back_what_was_told(
    way, repeated, proxy, on, tell_proxy, eventually, writes
):
    mine, told = repeated
    began = time.monotonic()
    show = ("systemctl", "show", "-p", "MainPID", "--value", proxy.name)
    before = on("sip-1", *show)
    if way == "kill":
        on("sip-1", "systemctl", "kill", "--signal=KILL", proxy.name)
    else:
        on("sip-1", "systemctl", "restart", proxy.name)

    def known():
        try:
            return on("sip-1", *show) not in ("0\n", before) and tell_proxy("registrations", NUMBER)
        except Problem:
            return None

    (found,) = eventually(known, 30)
    gone = time.monotonic() - began
    assert found["contact"] == mine.address
    assert found["expires_s"] >= told - gone - 2
    assert list(writes()) == [mine.address]


@pytest.mark.parametrize("proxy", [KAMAILIO], ids=["kamailio"], scope="module")
def test_who_wrote_to_subscribers_may_have_removed_it(repeated, proxy, on, writes):
    """The row is away though the proxy was told nothing. OpenSIPS would update none."""
    mine, _ = repeated
    answered(on, f"delete from {proxy.locations} where username = '{NUMBER}'")  # noqa: S608
    answered(on, f"update subscriber set state = state where username = '{NUMBER}'")  # noqa: S608
    time.sleep(3)
    assert mine.register() == {mine.address: LONG_S}
    assert list(writes()) == [mine.address]
