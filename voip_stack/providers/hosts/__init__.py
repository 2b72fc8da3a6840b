"""Existing Debian servers: addresses from the pillar, made minions over SSH."""
