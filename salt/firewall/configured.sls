{%- set voip = pillar['voip'] %}
{%- set self = voip.self %}
include:
  - firewall.installed

Load the declared firewall rules:
  voip_firewall.managed:
    - name: /etc/nftables.d/voip.nft
    - rules: {{ voip.firewall | tojson }}
    - addresses:
      {%- for network, addresses in self.listens.items() %}
        {{ self.interfaces[network] }}: {{ addresses | tojson }}
      {%- endfor %}
      {%- if voip.management is defined %}
        {{ voip.management.interface }}: [{{ voip.management.address }}]
      {%- endif %}
    - networks:
      {%- for network, definition in self.networks.items() %}
        {{ definition.interface }}: {{ [definition.cidr, definition.ipv6] | tojson if definition.ipv6 is defined else definition.cidr }}
      {%- endfor %}
      {%- if voip.management is defined %}
        {{ voip.management.interface }}: {{ voip.management.cidr }}
      {%- endif %}
    - masters: [{{ voip.master.address }}]
    - master_ports: [{{ voip.master.publish }}, {{ voip.master.request }}]
    - egress: {{ voip.get('egress') | tojson }}
    {%- if voip.shared is defined %}
    - shared:
        interface: {{ voip.shared.interface }}
        ways: {{ voip.shared.ways.values() | sum(start=[]) | tojson }}
    {%- endif %}
    - connections: {{ voip.get('connections') | tojson }}
    - require:
      - pkg: Install nftables
