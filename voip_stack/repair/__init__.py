"""Self-repair on the master: what to do about a service that does not answer, and the record of it.

rules        what is known -> what to do; no I/O
state        maintenance, degraded services, the repairs of the last minutes
incidents    the record that `./voip incidents` shows
engine       verify, wait, gather evidence, restart, verify: one repair
handlers     the health beacon's events
"""
