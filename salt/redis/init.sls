# Redis: TLS only, ACL users only, kept on disk.
include:
  - pki
  - redis.installed
  - redis.certs
  - redis.configured
  - redis.running
