# Asterisk: the PBX. Reachable from the proxies and RTPEngine only.
include:
  - asterisk.installed
  - asterisk.certs
  - asterisk.configured
  - asterisk.running
