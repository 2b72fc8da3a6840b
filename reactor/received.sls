#!py
# In Python, not Jinja: an event's data would otherwise become part of a template's output.


def run():
    return {"Receive an event": {"runner.voip_events.receive": [{"args": {"tag": tag, "event": data}}]}}
