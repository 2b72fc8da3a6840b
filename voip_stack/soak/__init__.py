"""Soak runs: calls, registrations and handshakes go on while certificates are replaced."""
