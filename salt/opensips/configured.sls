{%- set settings = pillar['voip'].opensips %}
include:
  - opensips.installed
  - opensips.certs

# OpenSIPS reads a new certificate without a restart from a table only: this lays it there, in memory.
Install what lays out OpenSIPS' certificate:
  file.managed:
    - name: /usr/local/lib/voip-stack/opensips_tls_tables.py
    - source: salt://opensips/files/tls_tables.py
    - makedirs: True
    - mode: "0644"

# What the running proxy reads again: TLS settings, PBXs, relays, peers. No call is touched.
Configure OpenSIPS' tables:
  voip_proxy.tables:
    - name: /etc/opensips/voip
    - component: opensips
    - require:
      - voip_package: Install OpenSIPS
      - voip_certificate: Certify OpenSIPS
      - file: Install what lays out OpenSIPS' certificate

# What is read at the start only. Checked by the proxy's own parser before it replaces what runs.
Configure OpenSIPS' routing:
  voip_proxy.configured:
    - name: /etc/opensips/voip
    - component: opensips
    - source: salt://opensips/files
    - require:
      - voip_proxy: Configure OpenSIPS' tables

Confine the OpenSIPS service:
  file.managed:
    - name: /etc/systemd/system/opensips.service.d/voip.conf
    - source: salt://opensips/files/voip.conf.j2
    - template: jinja
    - makedirs: True
    - mode: "0644"
    - context:
        settings: {{ settings | tojson }}
    - require:
      - voip_package: Install OpenSIPS
