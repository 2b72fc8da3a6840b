"""The lab: guests with real systemd in a network namespace of one Linux machine.

registry   one record per lab of the machine, so that none is ever lost
netns      namespace, bridges and the one way out; egress says what may leave
wheelhouse, aptconf, images   what a guest is copied from, kept in the cache
guests     a guest's files;  nspawn  its processes;  limits  its memory and CPU
debpool    packages that guests downloaded once, given back to the next lab
teardown   the reverse of all of it
"""
