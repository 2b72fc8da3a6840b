# OpenSIPS: SIP proxy and registrar beside Kamailio, by the same policy.
include:
  - opensips.installed
  - opensips.certs
  - opensips.configured
  - opensips.running
