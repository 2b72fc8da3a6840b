# OpenSIPS: SIP proxy and registrar beside Kamailio, by the same policy.
include:
  - location
  - opensips.installed
  - opensips.certs
  - opensips.configured
  - opensips.running
