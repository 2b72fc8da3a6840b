# Every host gets the base and its firewall, then what its components declare (pillar/topology.yaml).
base:
  '*':
    - base
    - firewall
{%- for component in pillar.get('voip', {}).get('self', {}).get('components', []) %}
    - {{ component }}
{%- endfor %}
{%- if pillar.get('voip', {}).get('shared') %}
    - shared
{%- endif %}
