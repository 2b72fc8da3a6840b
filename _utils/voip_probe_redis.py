"""Redis `PING` over TLS, as the user `health`, who needs no password and may do nothing else.

Without a log-in Redis would say NOAUTH before it says that it is still loading its data.
"""

import voip_probe_link


def ask(timeout_s, address, port, name, ca_file, user):
    """Raises with Redis' own words unless it answers PONG."""
    with voip_probe_link.tls(address, port, name, ca_file, timeout_s) as link:
        # The password of a user without one is not looked at.
        for command, expected in ((f"AUTH {user} none", b"+OK"), ("PING", b"+PONG")):
            link.sendall(command.encode() + b"\r\n")
            answer = voip_probe_link.until(link, b"\r\n").strip()
            if answer != expected:
                raise ValueError(answer[:200].decode("utf-8", "replace"))
