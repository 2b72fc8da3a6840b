"""The same host by Ansible: what `bench salt` compares a state run with.

playbook     from a host's lowstate to tasks of ansible-core (pure)
survey       the files of the host as they are, which the tasks then declare
environment  ansible-core in an environment of its own, kept in the cache
project      the directory that ansible-playbook runs in, and its runs
connection/  a plugin that enters the guest as the provider does
"""
