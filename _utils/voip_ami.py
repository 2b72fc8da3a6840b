"""The Asterisk Manager Interface's text protocol: actions out, responses and event lists in.

A message is lines `Name: value` ended by CRLF, and an empty line (docs.asterisk.org, AMI v2).
"""

from salt.exceptions import CommandExecutionError

END = b"\r\n\r\n"


class Refused(CommandExecutionError):
    """Asterisk answered `Response: Error`; the message is its reason."""


def encode(action, **fields):
    """Return the bytes of one action. Raises ValueError for a line break, a field of its own."""
    lines = [f"Action: {action}", *(f"{name}: {value}" for name, value in fields.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in an AMI field")
    return "\r\n".join(lines).encode() + END


def split(buffer):
    """Return ([message, ...], rest): the complete messages in buffer (bytes), and what follows."""
    *whole, rest = buffer.split(END)
    return [parse(item) for item in whole if item.strip()], rest


def parse(data):
    """Return one message as {name: value}; a name that comes again gets a list of its values."""
    message = {}
    for line in data.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            continue
        value = value.strip()
        if name in message:
            known = message[name]
            message[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            message[name] = value
    return message


def belongs(message, action_id):
    return message.get("ActionID") == action_id


def is_answer(message):
    return "Response" in message


def opens_list(answer):
    """Tell whether events follow the answer until one says `EventList: Complete`."""
    return answer.get("EventList") == "start"


def closes_list(message):
    return message.get("EventList") in ("Complete", "Cancelled")


def checked(answer):
    """Return answer, or raise Refused when it is an error."""
    if answer.get("Response") not in ("Success", "Goodbye"):
        raise Refused(answer.get("Message", "no reason given"))
    return answer


def credentials(text):
    """Return (username, secret) of the first user in the text of a manager.conf or an ari.conf.

    Raises CommandExecutionError when there is none.
    """
    user = None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            user = line[1 : line.index("]")]
        elif user and user != "general" and line.split("=")[0].strip() in ("secret", "password"):
            return user, line.partition("=")[2].lstrip(">").strip()
    raise CommandExecutionError("the file names no user with a secret")
