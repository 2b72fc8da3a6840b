"""The master's configuration and keys."""

import shutil
import stat

import pytest
import salt.config
import salt.utils.crypt
import yaml

from voip_stack import paths
from voip_stack.master import config, daemon, keys
from voip_stack.problem import Problem


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
    yield tmp_path / "state"
    # Pytest's paths are long: the sockets' directory is not below them.
    shutil.rmtree(config.socket_dir(), ignore_errors=True)


def options():
    return config.master_options("127.0.0.1", (4505, 4506), None)


def test_nobody_is_accepted_unseen():
    assert options()["auto_accept"] is False
    assert options()["open_mode"] is False


def test_everything_it_writes_is_below_the_state_directory(state_dir):
    """As Salt itself reads the file: with its defaults and its ideas of a root directory."""
    config.write("127.0.0.1", (4505, 4506))
    read = salt.config.master_config(str(state_dir / "master/master"))
    ours = str(state_dir / "master")
    for name in (
        *("pki_dir", "cachedir", "extension_modules", "pidfile", "log_file", "key_logfile"),
        *("token_dir", "syndic_dir", "sqlite_queue_dir"),
    ):
        assert read[name].startswith(ours), f"{name}: {read[name]}"


def test_only_the_states_and_packages_are_served(tmp_path):
    served = config.master_options("127.0.0.1", (1, 2), tmp_path / "debs")["file_roots"]
    assert served == {
        "base": [str(paths.checkout() / "salt")],
        "packages": [str(tmp_path / "debs")],
    }


def test_pillar_modules_are_not_the_pillar_data():
    assert options()["pillar_dirs"] == [str(paths.checkout() / "_pillar")]
    assert str(paths.checkout()) not in options()["module_dirs"]


def test_deep_checkouts_get_a_short_socket_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / ("deep/" * 20)))
    assert len(str(config.socket_dir())) <= config.SOCKET_DIRECTORY_MAX
    config.write("127.0.0.1", (4505, 4506))
    read = salt.config.master_config(str(paths.master_dir() / "master"))
    assert read["sock_dir"] == str(config.socket_dir())
    shutil.rmtree(config.socket_dir())


def test_foreign_socket_directory_is_refused(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(Problem, match="somebody else"):
        config._make_socket_dir(tmp_path / "link")


def test_write_tells_a_change(state_dir):
    assert config.write("127.0.0.1", (4505, 4506)) is True
    assert config.write("127.0.0.1", (4505, 4506)) is False
    assert config.write("127.0.0.1", (4507, 4508)) is True
    assert yaml.safe_load((state_dir / "master/master").read_text())["publish_port"] == 4507
    assert stat.S_IMODE((state_dir / "master").stat().st_mode) == 0o700


def test_reactors_come_from_their_map(tmp_path):
    assert config.reactors(tmp_path) == []
    (tmp_path / "map.yaml").write_text("voip/expiry: [renew.sls]\n")
    assert config.reactors(tmp_path) == [{"voip/expiry": [str(tmp_path / "renew.sls")]}]


def test_minion_key_is_accepted_and_private():
    pair = keys.ensure_minion("sip-1")
    assert keys.accepted() == ["sip-1"]
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o400
    assert (keys.pki_dir() / "minions/sip-1").read_text() == pair.public.read_text()
    assert pair.master_public == keys.pki_dir() / "master.pub"


def test_keys_are_made_once():
    first = keys.ensure_minion("sip-1").private.read_text()
    assert keys.ensure_minion("sip-1").private.read_text() == first


def test_exactly_the_declared_minions_are_accepted():
    keys.accept_only(["sip-1", "sip-2"])
    (keys.pki_dir() / "minions_pre").mkdir()
    assert keys.accept_only(["sip-1"]) == ["sip-2"]
    assert keys.accepted() == ["sip-1"]
    assert not (paths.master_dir() / "minions/sip-2").exists()


def test_fingerprint_is_what_salt_prints():
    public = keys.ensure_master()
    assert keys.fingerprint(public) == salt.utils.crypt.pem_finger(str(public), sum_type="sha256")


def test_half_made_pair_is_made_again():
    keys.ensure_minion("sip-1").public.unlink()
    assert keys.ensure_minion("sip-1").public.exists()


def test_no_master_is_running_where_none_was_started():
    assert not daemon.is_running()
    assert daemon.stop() is False


def test_record_of_another_process_is_not_ours(state_dir):
    (state_dir / "master").mkdir(parents=True)
    daemon.record_file().write_text('{"pid": 1, "started": 1.0}')
    assert not daemon.is_running()


def test_start_without_configuration_says_up():
    with pytest.raises(Problem, match="not set up"):
        daemon.start()


def test_changed_code_makes_a_master_outdated(state_dir, monkeypatch):
    assert not daemon.is_outdated()
    (state_dir / "master").mkdir(parents=True)
    daemon.record_file().write_text(f'{{"code": "{daemon.code_digest()}"}}')
    assert not daemon.is_outdated()
    monkeypatch.setattr(daemon, "code_digest", lambda: "another")
    assert daemon.is_outdated()


def test_rotation_is_looked_for_at_the_start_and_from_time_to_time():
    """Nothing of it is remembered by the master, so a restart loses nothing."""
    assert options()["schedule"] == {}
    jobs = config.schedule(600)
    assert {name: job["function"] for name, job in jobs.items()} == {
        "rotation": "voip_rotation.scheduled",
        "authority": "voip_authority.scheduled",
    }
    for job in jobs.values():
        assert job["seconds"] == 600
        assert job["run_on_start"] is True
