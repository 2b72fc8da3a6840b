"""The web phone's page in a Chromium: loaded, filled in and pressed as a person would do it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from voip_stack.call.chromium import Chromium, Start
from voip_stack.call.failure import CallError

LOAD_DEADLINE_S = 10.0
READY = "document.body?.dataset.ready === 'yes'"
FILL = "for (const [id, value] of Object.entries({})) document.getElementById(id).value = value"
PRESS = "((it) => !it.disabled && !it.hidden && (it.click(), true))(document.getElementById({}))"


class Page:
    """One browser with this one page. Close it at the end.

    on_event: told every event of the DevTools protocol (method, parameters); on_end: that the
    browser has gone, which `close` does too.
    """

    def __init__(
        self,
        url: str,
        on_event: Callable[[str, dict[str, Any]], None] = lambda *_: None,
        on_end: Callable[[], None] = lambda: None,
    ):
        self.url = url
        self._on_event = on_event
        self._on_end = on_end
        self._chromium: Chromium | None = None
        self._session = ""
        self._loaded = threading.Event()

    @property
    def pid(self) -> int | None:
        """Of the process whose children are the browser's; None where it does not run."""
        return None if self._chromium is None else self._chromium.pid

    def open(self, start: Start, script: str = "", binding: str = "") -> None:
        """Start Chromium and load the page. CallError with its word when that does not come.

        script runs in the page before its own scripts; binding is a function there whose calls are
        events.
        """
        self._chromium = Chromium(start, self._take, self._on_end)
        attached = self.ask("Target.attachToTarget", targetId=self._target(), flatten=True)
        self._session = attached["sessionId"]
        for method in ("Page.enable", "Runtime.enable"):
            self.ask(method)
        if binding:
            self.ask("Runtime.addBinding", name=binding)
        if script:
            self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)
        answer = self.ask("Page.navigate", url=self.url)
        if answer.get("errorText"):
            raise CallError("", f"{self.url}: {answer['errorText']}")
        if not self._loaded.wait(LOAD_DEADLINE_S):
            raise CallError("", f"{self.url} did not load")
        look = f"const look = () => {READY} ? done() : setTimeout(look, 20); look();"
        self.run(f"new Promise((done) => {{ {look} }})")

    def wait(self) -> None:
        """Until the browser has ended."""
        if self._chromium is not None:
            self._chromium.wait()

    def close(self) -> None:
        if self._chromium is not None:
            self._chromium.close()
            self._chromium = None

    def fill(self, values: Mapping[str, str]) -> None:
        """Write into fields, by their ids."""
        self.run(FILL.format(json.dumps(values)))

    def press(self, button: str) -> None:
        """Press a button, by its id. CallError where a person could not."""
        if not self.run(PRESS.format(json.dumps(button))):
            raise CallError("", f"the page's button {button} is not to be pressed now")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, awaited when it is a promise."""
        answer = self.ask(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            # Of the exception its own words: the expression may hold a password.
            what = answer["exceptionDetails"].get("exception", {}).get("description", "exception")
            raise CallError("", f"the web phone: {what.splitlines()[0]}")
        return answer["result"].get("value")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Give the browser, or the page once it is there, an order of the DevTools protocol."""
        if self._chromium is None:
            raise CallError("", "the browser is not running")
        return self._chromium.devtools.ask(method, self._session or None, **params)

    def _target(self) -> str:
        """The id of the page that Chromium starts with. CallError where there is none."""
        deadline = time.monotonic() + LOAD_DEADLINE_S
        while time.monotonic() < deadline:
            for item in self.ask("Target.getTargets")["targetInfos"]:
                if item["type"] == "page":
                    return str(item["targetId"])
            time.sleep(0.02)
        raise CallError("", f"the browser opened no page within {LOAD_DEADLINE_S:.0f} s")

    def _take(self, method: str, params: dict[str, Any], _session: str) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        self._on_event(method, params)
