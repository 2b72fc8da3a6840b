"""AMI `Ping` over TLS, with the credential of manager.conf, which root and Asterisk only read."""

import contextlib
import os
import secrets

import voip_ami
import voip_probe_link
from salt.exceptions import CommandExecutionError


def ask(timeout_s, address, port, name, ca_file, directory):
    """directory: of manager.conf. Log in, ping, log off."""
    with open(os.path.join(directory, "manager.conf"), encoding="utf-8") as file:
        text = file.read()
    try:
        user, secret = voip_ami.credentials(text)
        with voip_probe_link.tls(address, port, name, ca_file, timeout_s) as link:
            say(link, "Login", Username=user, Secret=secret, Events="off")
            say(link, "Ping")
            with contextlib.suppress(CommandExecutionError, OSError):
                say(link, "Logoff")
    except CommandExecutionError as err:
        raise ValueError(str(err)) from err


def say(link, action, **fields):
    """One action and its answer. Raises voip_ami.Refused, OSError."""
    action_id = secrets.token_hex(6)
    link.sendall(voip_ami.encode(action, ActionID=action_id, **fields))
    buffer = b""
    while True:
        buffer += voip_probe_link.until(link, voip_ami.END)
        messages, buffer = voip_ami.split(buffer)
        for message in messages:
            if voip_ami.belongs(message, action_id) and voip_ami.is_answer(message):
                voip_ami.checked(message)
                return
