"""Certificates on the master's side: who is told to renew what, and the record of it.

renew        one certificate of one host, now: for events and for the command line
queue        those that are due wait here for their turn
outages      what failed: pauses between tries, one alert
"""
