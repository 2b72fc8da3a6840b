# A Redis of its own for the media relays' live calls: TLS only, ACL users only, never on a disk.
include:
  - pki
  - callstore.installed
  - callstore.certs
  - callstore.configured
  - callstore.running
