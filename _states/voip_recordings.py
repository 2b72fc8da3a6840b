"""The key that recordings are sealed for."""

import voip_beats

__virtualname__ = "voip_recordings"


def __virtual__():
    if "voip_recordings.key_difference" in __salt__:
        return __virtualname__
    return (False, "the voip_recordings execution module is missing")


def keyed(name):
    """The file `name` holds the public key of this host's recordings, as the Vault's secret has it.

    A new secret makes a new key: what was sealed before is opened with the secret's former version.
    """
    return voip_beats.converge(
        name,
        __opts__["test"],
        check=lambda: __salt__["voip_recordings.key_difference"](name),
        act=lambda _: __salt__["voip_recordings.write_key"](name),
        done="made",
    )
