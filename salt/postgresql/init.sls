# PostgreSQL: one database per component, TLS only, one login per host. On an existing server
# (pillar postgresql: external) only databases, logins and schemas are made.
include:
  - pki
{%- if not pillar['voip']['postgresql']['external'] %}
  - postgresql.installed
  - postgresql.certs
  - postgresql.configured
  - postgresql.running
{%- endif %}
  - postgresql.databases
