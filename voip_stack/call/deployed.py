"""The platform that this checkout deployed, as a test call needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from voip_stack import paths, providers, vault
from voip_stack.call.chromium import Inside
from voip_stack.call.outside import from_here
from voip_stack.call.plan import Plan
from voip_stack.call.run import Platform
from voip_stack.master import client
from voip_stack.pillar import load
from voip_stack.problem import Problem

# An answer takes a tenth of it; a call must not wait for a minion that is being restarted.
ASK_DEADLINE_S = 6


def deployed(plan: Plan) -> tuple[Platform, Plan]:
    """The deployed platform behind this checkout, and the plan as this machine has to do it."""

    def ca_pem() -> str:
        try:
            return paths.ca_file().read_text()
        except OSError as err:
            raise Problem(
                "The platform's root certificate is not here", str(paths.ca_file()), "./voip up"
            ) from err

    provider = providers.deployed(load(paths.pillar_dir()))
    command: Callable[[str, Sequence[str]], Sequence[str]] = provider.command
    inside: Inside = partial(provider.network_command, plan.outside.name)
    if provider.name != "lab":
        # Only the lab has a guest for the outside: elsewhere this machine is the outside.
        plan, command = from_here(plan)
        inside = list
    return (
        Platform(
            ca_pem=ca_pem,
            passwords=vault.subscriber_passwords,
            command=command,
            inside=inside,
            ask=partial(client.call, timeout_s=ASK_DEADLINE_S),
        ),
        plan,
    )
