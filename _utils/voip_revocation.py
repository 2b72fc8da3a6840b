"""Revocation lists as data: is one good, which is newer, what a daemon's file holds. No I/O.

A daemon that checks the whole chain (OpenSSL: CRL_CHECK_ALL) needs one valid list of each issuer in
it: the root's and each intermediate's, in one PEM file. One that has ended, or is missing, refuses
every peer of that issuer.
"""

import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

_END = "-----END X509 CRL-----"


def problem(crl_pem, issuer_pem, root_pem, now=None):
    """Return why a list must not be used, None when it is good.

    issuer_pem: the certificate of its issuer: the root, or signed by it. now: aware datetime.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    try:
        crl = x509.load_pem_x509_crl(crl_pem.encode())
        issuer = x509.load_pem_x509_certificate(issuer_pem.encode())
        root = x509.load_pem_x509_certificate(root_pem.encode())
    except ValueError:
        return "it cannot be read"
    try:
        issuer.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return "its issuer is not of the platform's root CA"
    if crl.issuer != issuer.subject or not crl.is_signature_valid(issuer.public_key()):
        return "its signature is not its issuer's"
    if crl.last_update_utc > now:
        return (
            f"it begins on {crl.last_update_utc:%F %T} UTC, in the future of this machine's clock"
        )
    if crl.next_update_utc is None or crl.next_update_utc <= now:
        return f"it ended on {crl.next_update_utc or crl.last_update_utc:%F %T} UTC"
    return None


def lists(text):
    """Return {issuer's key identifier: list} of a file. Raises ValueError for one that is broken.

    Key identifiers, not names: two intermediate CAs may have one name.
    """
    found = {}
    for part in text.split(_END)[:-1]:
        crl = x509.load_pem_x509_crl((part.strip() + f"\n{_END}\n").encode())
        found[_authority(crl)] = crl
    return found


def join(pems):
    """Return the text of the file that holds these lists, always in the same order."""
    crls = {_authority(crl): crl for pem in pems for crl in lists(pem).values()}
    encoding = serialization.Encoding.PEM
    return "".join(crls[key].public_bytes(encoding).decode() for key in sorted(crls))


def older(text, than):
    """Return the names of the issuers whose list in `text` is older than that in `than`.

    By the time at which it was made, then by its number: a Vault that was restored from a backup
    counts from a lower number on.
    """
    new, old = lists(text), lists(than)
    return sorted(
        _name(old[key])
        for key in new.keys() & old.keys()
        if (new[key].last_update_utc, _number(new[key]))
        < (old[key].last_update_utc, _number(old[key]))
    )


def difference(old_text, new_text):
    """Return {issuer's name: {"old", "new"}}: what each list says of itself, None where none is."""
    old, new = lists(old_text), lists(new_text)
    return {
        _name(new[key] if key in new else old[key]): {
            "old": _told(old.get(key)),
            "new": _told(new.get(key)),
        }
        for key in sorted(old.keys() | new.keys())
        if _told(old.get(key)) != _told(new.get(key))
    }


def ends(text):
    """Return when the first list of a file ends, an aware datetime; None when it holds none."""
    times = [crl.next_update_utc for crl in lists(text).values()]
    return min(time for time in times if time) if any(times) else None


def life_left(text, now=None):
    """Return the part of its life, 0 to 1, that the list which ends first still has."""
    now = now or datetime.datetime.now(datetime.UTC)
    left = []
    for crl in lists(text).values():
        whole = (crl.next_update_utc - crl.last_update_utc).total_seconds()
        left.append((crl.next_update_utc - now).total_seconds() / max(1.0, whole))
    return max(0.0, min(left)) if left else 0.0


def revoked(text):
    """Return the serial numbers, in hex, that any list of a file has."""
    return sorted(f"{item.serial_number:x}" for crl in lists(text).values() for item in crl)


def _authority(crl):
    found = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return (found.key_identifier or b"").hex()


def _number(crl):
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _name(crl):
    return crl.issuer.rfc4514_string()


def _told(crl):
    return None if crl is None else f"number {_number(crl)}, {len(crl)} revoked"
