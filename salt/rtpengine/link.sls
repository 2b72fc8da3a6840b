# The link between RTPEngine and the Redis of live calls: it holds the credential, RTPEngine none.
{%- set voip = pillar['voip'] %}
{%- set store = salt['rtpengine_relays.store']() %}
include:
  - pki
  - rtpengine.installed
{%- if store %}

Give the link its login:
  voip_config.managed:
    - name: /etc/voip-stack/callstore
    - source: salt://rtpengine/files
    - files: [login.json]
    - group: rtpengine
    - secrets:
        callstore: hosts/{{ voip.self.name }}/callstore
    - require:
      - voip_package: Install RTPEngine

Configure the link:
  voip_config.managed:
    - name: /etc/voip-stack/callstore
    - source: salt://rtpengine/files
    - files: [link.json]
    - mode: "0644"
    - context:
        settings:
          port: {{ voip.rtpengine.link_port }}
          store: {{ store | tojson }}
          ca_file: /etc/voip-stack/tls/ca.crt
          login: /etc/voip-stack/callstore/login.json
          control_ports: {{ salt['rtpengine_relays.instances']() | map(attribute='cli_port') | list | tojson }}
          restate_s: {{ voip.rtpengine.restate_s }}

Install the link:
  file.managed:
    - name: /usr/local/lib/voip-stack/callstore_link.py
    - source: salt://rtpengine/files/callstore_link.py
    - makedirs: True
    - mode: "0644"

Describe the link's service:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://rtpengine/files
    - files: [{voip-callstore-link.service: voip-helper.service}]
    - mode: "0644"
    - context:
        program: /usr/local/lib/voip-stack/callstore_link.py /etc/voip-stack/callstore/link.json
        description: Carries RTPEngine's calls to the Redis of live calls
        families: AF_INET AF_UNIX
        before: rtpengine-daemon.service
        runtime_directory: null
    - require:
      - voip_package: Install RTPEngine

Run the link:
  voip_service.running:
    - name: voip-callstore-link.service
    - paths:
      - /usr/local/lib/voip-stack/callstore_link.py
      - /etc/voip-stack/callstore/link.json
      - /etc/systemd/system/voip-callstore-link.service
    - watch:
      - file: Install the link
      - voip_config: Configure the link
      - voip_config: Describe the link's service
    - require:
      - voip_config: Give the link its login
{%- endif %}
