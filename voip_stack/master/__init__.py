"""The Salt master of one checkout: configuration, keys, process and client.

config   what is written to .voip/master/master
keys     the master's key pair, and a pair for each minion, made before its first boot
daemon   start, stop, is it running
client   jobs on the minions, with progress from the event bus
results  job returns as numbers and failures
"""
