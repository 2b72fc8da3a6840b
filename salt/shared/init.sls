# Whichever proxy is the primary: new connections to the shared address are its, those that are open stay where they are. Who is
# registered at the other proxy is moved by salt-run state.orchestrate orch.switch_proxy.
include:
  - firewall.installed
  - shared.address

Send new connections to the primary proxy:
  voip_shared.entrance:
    - name: /etc/nftables.d/voip-shared.nft
    - require:
      - pkg: Install nftables
      - voip_service: Have the shared address
