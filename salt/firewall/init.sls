# Default-deny nftables rules, derived from pillar/services.yaml: table `inet voip` only.
include:
  - firewall.installed
  - firewall.configured
  - firewall.running
