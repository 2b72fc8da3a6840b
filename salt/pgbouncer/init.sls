# The local pooler in front of PostgreSQL: it holds the host's credential, so that no daemon's
# configuration does. Whoever is in its socket's group may use the databases.
include:
  - pki
  - pgbouncer.installed
  - pgbouncer.configured
  - pgbouncer.running
