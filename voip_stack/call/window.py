"""The web phone in a window of the desktop, signed in where that is wanted."""

from __future__ import annotations

from voip_stack import paths, vault
from voip_stack.call.chromium import Start
from voip_stack.call.deployed import deployed
from voip_stack.call.page import Page
from voip_stack.call.plan import make_plan
from voip_stack.pillar import load


def open_window(number: str | None) -> None:
    """Open it and wait until it is closed. Raises CallError or Problem when it does not come."""
    pillar = load(paths.pillar_dir())
    who = number or next(iter(pillar.subscribers)).number
    platform, plan = deployed(make_plan(pillar, who, pillar.routing.echo_extension, browsers=[who]))
    names = {plan.proxy_name: str(plan.proxy.external)}
    page = Page(plan.page)
    try:
        page.open(Start(platform.inside, platform.ca_pem(), names, None))
        if number is not None:
            password = vault.subscriber_passwords([number])[number]
            page.fill({"number": number, "password": password})
            page.press("sign-in")
        page.wait()
    finally:
        page.close()
