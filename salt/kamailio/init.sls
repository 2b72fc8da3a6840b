# Kamailio: SIP proxy and registrar, and the subscribers that it knows.
include:
  - location
  - kamailio.installed
  - kamailio.certs
  - kamailio.configured
  - kamailio.running
  - subscribers
