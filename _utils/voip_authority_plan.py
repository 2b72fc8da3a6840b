"""The rotation of the intermediate CA as data: its phases and what leaves each of them. No I/O.

Its document in the Vault says how far it is (docs/adr/0011): {"phase", "name", "key_name", "old",
"new", "old_key", "revoke_old"}. Each step is one function of voip_vault_authority that can be
repeated; the phase is written, with check-and-set, when it is done.
"""

from salt.exceptions import CommandExecutionError

STABLE = "stable"  # one intermediate CA signs
MAKING = "making"  # another is to be made; it may exist in part
MADE = "made"  # there are two, the old one signs; who checks gets to know the new one's list
ISSUING = "issuing"  # the new one signs, both are good; every certificate is renewed and proved
CLOSING = "closing"  # the old one signs lists only
WITHDRAWN = "withdrawn"  # what it had signed is revoked, and it by the root where that is wanted

# Step -> (phase in which it is done, phase after it), in order.
STEPS = {
    "begin": (STABLE, MAKING),
    "make": (MAKING, MADE),
    "switch": (MADE, ISSUING),
    "close": (ISSUING, CLOSING),
    "withdraw": (CLOSING, WITHDRAWN),
    "remove": (WITHDRAWN, STABLE),
}


def phase(document):
    """Return the phase that a document tells; a Vault without one has no rotation."""
    return document.get("phase", STABLE)


def step(document):
    """Return the step that comes next."""
    return next(name for name, (before, _) in STEPS.items() if before == phase(document))


def after(document, done, found=None):
    """Return the document once step `done` is; found: dict, what it found out.

    Raises CommandExecutionError in a phase that has no such step.
    """
    before, then = STEPS[done]
    if phase(document) != before:
        raise CommandExecutionError(
            f"the rotation of the intermediate CA is {phase(document)}: {done} is not due"
        )
    if then == STABLE:
        return {"phase": STABLE, "last": document.get("name")}
    return document | (found or {}) | {"phase": then}
