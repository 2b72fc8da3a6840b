# Redis: TLS only, ACL users only, kept on disk. On an existing server (pillar redis: external) only
# the users are made.
include:
  - pki
{%- if pillar['voip']['redis']['external'] %}
  - redis.external
{%- else %}
  - redis.installed
  - redis.certs
  - redis.configured
  - redis.running
{%- endif %}
