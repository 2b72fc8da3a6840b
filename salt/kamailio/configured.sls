{%- set settings = pillar['voip'].kamailio %}
include:
  - kamailio.installed
  - kamailio.certs

# What the running proxy reads again: TLS settings, PBXs, peers. No call is touched.
Configure Kamailio's tables:
  kamailio.tables:
    - name: /etc/kamailio/voip
    - require:
      - voip_package: Install Kamailio
      - voip_certificate: Certify Kamailio

# What is read at the start only. Checked by the proxy's own parser before it replaces what runs.
Configure Kamailio's routing:
  kamailio.configured:
    - name: /etc/kamailio/voip
    - source: salt://kamailio/files
    - require:
      - kamailio: Configure Kamailio's tables

Confine the Kamailio service:
  file.managed:
    - name: /etc/systemd/system/kamailio.service.d/voip.conf
    - source: salt://kamailio/files/voip.conf.j2
    - template: jinja
    - makedirs: True
    - mode: "0644"
    - context:
        settings: {{ settings | tojson }}
    - require:
      - voip_package: Install Kamailio
