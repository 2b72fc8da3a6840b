{%- set settings = pillar['voip'].kamailio %}
include:
  - kamailio.installed
  - kamailio.certs

# What the running proxy reads again: TLS settings, PBXs, peers. No call is touched.
Configure Kamailio's tables:
  voip_proxy.tables:
    - name: /etc/kamailio/voip
    - component: kamailio
    - require:
      - voip_package: Install Kamailio
      - voip_certificate: Certify Kamailio

# What is read at the start only. Checked by the proxy's own parser before it replaces what runs.
Configure Kamailio's routing:
  voip_proxy.configured:
    - name: /etc/kamailio/voip
    - component: kamailio
    - source: salt://kamailio/files
    - require:
      - voip_proxy: Configure Kamailio's tables

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
