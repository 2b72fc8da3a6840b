# PostgreSQL: one database per component, TLS only, one login per host.
include:
  - pki
  - postgresql.installed
  - postgresql.certs
  - postgresql.configured
  - postgresql.running
  - postgresql.databases
