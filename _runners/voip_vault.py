"""Identities in the Vault, from an orchestration or by hand: salt-run voip_vault.enrol."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_vault"


def __virtual__():
    return __virtualname__


def enrol(hosts=None):
    """Enrol the hosts (list of names; all by default) that cannot log in, or not for long.

    Returns {host: "enrolled" or "already enrolled"}. Raises CommandExecutionError naming each host
    that could not be, after the others were.
    """
    from voip_stack import identity
    from voip_stack.problem import Problem

    try:
        return identity.enrol(hosts)
    except Problem as problem:
        raise CommandExecutionError(str(problem)) from None
