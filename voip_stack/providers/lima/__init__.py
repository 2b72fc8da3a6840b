"""Guests on a Mac (or Linux) by Lima: templates from the pillar, `limactl` planned, then run."""
