"""Broken SIP against the proxies: RFC 4475, mutations, oversized, slow clients, bad logins.

`attacker` and `mutation` run in the lab's outside guest too, with the standard library alone.
"""

# Mutations of a whole run; what is shorter is a look.
WHOLE = 100_000
