"""`./voip roster`."""

from __future__ import annotations

import typer


def roster() -> None:
    """The hosts as a roster for salt-ssh.

    \b
    Examples:
      ./voip roster
      ./voip roster > roster && .venv/bin/salt-ssh --roster-file roster '*' test.ping
    """
    import yaml

    from voip_stack.cli.hosts import provider_of

    typer.echo(yaml.safe_dump(provider_of().roster(), sort_keys=False), nl=False)
