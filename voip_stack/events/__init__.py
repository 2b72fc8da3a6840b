"""What happens on the platform and what the master does about it: events, alerts, security events.

Imported by the master's own processes (the reactor runs the handlers in its threads) and by the
command line, which reads the records.
"""
