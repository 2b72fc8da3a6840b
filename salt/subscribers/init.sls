# Subscribers: pillar/subscribers/ in the database (digests only) and in the Vault (passwords).
include:
  - subscribers.managed
