"""What can go wrong with a service, as classes: states decide by class, never by text."""

from salt.exceptions import CommandExecutionError


class NotFound(CommandExecutionError):
    """Absent on the server: an answer for a state, not a failure."""


class Denied(CommandExecutionError):
    """The server knows us, or does not, and refuses (HTTP 403, or a login refused)."""


class Refused(CommandExecutionError):
    """The server understands and will not: a wrong value, or not now (HTTP 400)."""


class Unavailable(CommandExecutionError):
    """The server does not answer, or answers with a certificate that does not verify."""


class Sealed(Unavailable):
    """The Vault is up but sealed: only its unseal key helps."""


class WrapSpent(CommandExecutionError):
    """A wrapping token is spent, expired, or wraps something else than was promised."""
