"""The reactor's way into voip_stack.events: verify an event, then act by its table."""

__virtualname__ = "voip_events"


def __virtual__():
    return __virtualname__


def receive(tag, event):
    """Take one event of a minion. tag: str; event: what the bus carries.

    Returns a word: done, failed, refused, late. Nothing of the event is returned or logged as it
    is: it can be anything.
    """
    from voip_stack.events import dispatch

    return dispatch.receive(tag, event)
