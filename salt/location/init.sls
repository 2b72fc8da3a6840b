# The link between the proxies and the Redis in which each tells that it has devices of a number: it holds the credential, they none.
{%- set voip = pillar['voip'] %}
{%- set store = salt['voip_redis.endpoint']('redis') %}
include:
  - pki
{%- if store %}

Give the locations' link its login:
  voip_config.managed:
    - name: /etc/voip-stack/location
    - source: salt://location/files
    - files: [login.json]
    - secrets:
        redis: hosts/{{ voip.self.name }}/redis

Configure the locations' link:
  voip_config.managed:
    - name: /etc/voip-stack/location
    - source: salt://location/files
    - files: [link.json]
    - mode: "0644"
    - context:
        settings:
          port: {{ voip.kamailio.location_port }}
          store: {{ store | tojson }}
          ca_file: /etc/voip-stack/tls/ca.crt
          login: login.json
          users: [kamailio, opensips]

# One program speaks with each Redis; what differs is who is let in.
Install the locations' link:
  file.managed:
    - names:
      - /usr/local/lib/voip-stack/location_link.py:
        - source: salt://location/files/location_link.py
      - /usr/local/lib/voip-stack/callstore_link.py:
        - source: salt://rtpengine/files/callstore_link.py
    - makedirs: True
    - mode: "0644"

Describe the locations' link:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://location/files
    - files: [voip-location-link.service]
    - mode: "0644"

Run the locations' link:
  voip_service.running:
    - name: voip-location-link.service
    - paths:
      - /usr/local/lib/voip-stack/location_link.py
      - /usr/local/lib/voip-stack/callstore_link.py
      - /etc/voip-stack/location
      - /etc/systemd/system/voip-location-link.service
    - watch:
      - file: Install the locations' link
      - voip_config: Configure the locations' link
      - voip_config: Describe the locations' link
      - voip_config: Give the locations' link its login
{%- endif %}
