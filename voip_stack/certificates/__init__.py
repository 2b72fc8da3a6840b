"""Certificates on the master's side: who is told to renew or revoke what, and the record of it.

renew        one certificate of one host, now: for events and for the command line
queue        those that are due wait here for their turn
outages      what failed: pauses between tries, one alert
inventory    which there are, and what the Vault says of them
revocation   who checks by revocation lists, and having them refreshed
revoke       one certificate: another first, then the Vault, then the lists
authority    another intermediate CA, and every certificate with it
"""
