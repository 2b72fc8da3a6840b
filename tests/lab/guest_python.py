"""Run a piece of Python in a guest with what its minion has installed; the answer is JSON."""

import json


class Login(dict):
    """A user and a password that a failing test does not show."""

    def __repr__(self):
        return f"<login of {self.get('user') or self.get('username')}>"

    def __or__(self, other):
        return Login({**self, **other})


class GuestPython:
    """guest("sip-1", SCRIPT, value, ...): SCRIPT sees `arguments` and prints one JSON value.

    Script and arguments go by standard input: a secret among them is in no argument list.
    """

    PYTHON = "/opt/voip-minion/bin/python"

    def __init__(self, provider):
        self._provider = provider

    def __call__(self, host, script, *arguments):
        text = f"import json\narguments = json.loads({json.dumps(arguments)!r})\n{script}"
        done = self._provider.run(host, [self.PYTHON, "-"], stdin=text.encode(), timeout=60)
        return json.loads(done.stdout)
