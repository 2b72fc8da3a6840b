"""A machine's identity in the Vault as it keeps it: unwrap it, and tell when it is due.

{"role_id", "secret_id", "accessor", "issued", "expires"}; Unix times by the server's clock.
"""

import datetime

from voip_errors import Denied, NotFound, Refused, WrapSpent


def unwrap(session, wrap_token, mount, name, role_id):
    """Return the identity that `wrap_token` wraps, after checking where it was made.

    session: not logged in. Returns {"role_id", "secret_id", "accessor", "issued", "expires"}: Unix
    times by the server's clock, expires is None for never. The creation path proves that the Vault
    made it for this AppRole's secret_id: anybody who may log in could wrap something else in a
    token of their own. Raises WrapSpent.
    """
    expected = f"auth/{mount}/role/{name}/secret-id"
    try:
        made = session.write("sys/wrapping/lookup", {"token": wrap_token})["data"]
        if made["creation_path"] != expected:
            raise WrapSpent(f"the wrapping token was not made by {expected}: not used")
        data = session.with_token(wrap_token).write("sys/wrapping/unwrap", {})["data"]
    except (Refused, Denied, NotFound) as err:
        raise WrapSpent(
            "the wrapping token is spent or expired: if nobody here used it, somebody else did"
        ) from err
    ttl_s = data.get("secret_id_ttl") or 0
    issued = int(datetime.datetime.fromisoformat(made["creation_time"]).timestamp())
    return {
        "role_id": role_id,
        "secret_id": data["secret_id"],
        "accessor": data["secret_id_accessor"],
        "issued": issued,
        "expires": issued + ttl_s if ttl_s else None,
    }


def is_due(identity, fraction, now):
    """Tell whether less than `fraction` of the identity's life is left at `now` (Unix seconds).

    identity: as unwrap() returns it.
    """
    if not identity.get("expires"):
        return False
    life = identity["expires"] - identity["issued"]
    return identity["expires"] - now < life * fraction
