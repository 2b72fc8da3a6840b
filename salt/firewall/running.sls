# nftables.service loads the rules at boot, before the network is up.
include:
  - firewall.configured

Load the rules files at boot:
  file.managed:
    - name: /etc/nftables.conf
    - source: salt://firewall/files/nftables.conf
    - mode: "0755"

Stop nftables without the tables of others:
  file.managed:
    - name: /etc/systemd/system/nftables.service.d/voip.conf
    - source: salt://firewall/files/nftables-override.conf
    - makedirs: True

Read the firewall unit again:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: Stop nftables without the tables of others

Start the firewall at boot:
  service.enabled:
    - name: nftables
    - require:
      - file: Load the rules files at boot
      - voip_firewall: Load the declared firewall rules
