{%- set voip = pillar['voip'] %}
# The platform's names answer without a DNS server, so calls do not depend on one.
# A host without an internal address is the outside: nothing of the platform calls it.
Name the hosts of the platform:
  file.blockreplace:
    - name: /etc/hosts
    - marker_start: "# voip-stack: begin (written by Salt)"
    - marker_end: "# voip-stack: end"
    - prepend_if_not_found: True
    - content: |
        {%- for name, host in voip.hosts.items() if host.internal is defined %}
        {{ host.internal }} {{ host.fqdn }} {{ name }}
        {%- endfor %}
        {%- if voip.vault.external %}
        {{ voip.vault.address }} {{ voip.vault.name }}
        {%- endif %}
