# keepalived moves the relays' addresses between the media hosts (VRRP); the watch tells it which relay is dead.
{%- set voip = pillar['voip'] %}
{%- set relays = salt['rtpengine_relays.instances']() | selectattr('floats') | list %}
{%- set timing = voip.rtpengine.failover %}
include:
  - rtpengine.running

Make the place of relays that an operator keeps away:
  file.directory:
    - name: /var/lib/voip-stack/relays
    - makedirs: True
    - mode: "0755"
{%- if relays %}

Install what the watch shares with Salt:
  file.managed:
    - name: /usr/local/lib/voip-stack/voip_relays.py
    - source: salt://_utils/voip_relays.py
    - makedirs: True
    - mode: "0644"

Install the watch over relays:
  file.managed:
    - name: /usr/local/lib/voip-stack/relay_watch.py
    - source: salt://rtpengine/files/relay_watch.py
    - mode: "0644"

Configure the watch over relays:
  voip_config.managed:
    - name: /etc/voip-stack/relays
    - source: salt://rtpengine/files
    - files: [watch.json]
    - mode: "0644"
    - context:
        settings:
          directory: /run/voip-relay
          every_s: 0.3
          dead_after_s: {{ timing.dead_after_s }}
          start_s: {{ timing.start_s }}
          relays:
          {%- for relay in relays %}
            - {name: {{ relay.name }}, address: {{ relay.addresses.internal }}, port: {{ voip.ports.rtpengine.ng }}}
          {%- endfor %}

Describe the watch over relays:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://rtpengine/files
    - files: [{voip-relay-watch.service: voip-helper.service}]
    - mode: "0644"
    - context:
        program: /usr/local/lib/voip-stack/relay_watch.py /etc/voip-stack/relays/watch.json
        description: Tells keepalived which media relay is dead
        families: AF_INET AF_UNIX
        before: keepalived.service
        runtime_directory: voip-relay

Run the watch over relays:
  voip_service.running:
    - name: voip-relay-watch.service
    - paths:
      - /usr/local/lib/voip-stack/relay_watch.py
      - /usr/local/lib/voip-stack/voip_relays.py
      - /etc/voip-stack/relays/watch.json
      - /etc/systemd/system/voip-relay-watch.service
    - watch:
      - file: Install the watch over relays
      - file: Install what the watch shares with Salt
      - voip_config: Configure the watch over relays
      - voip_config: Describe the watch over relays

Configure keepalived:
  voip_config.managed:
    - name: /etc/keepalived
    - source: salt://rtpengine/files
    - files: [keepalived.conf]
    - check: rtpengine_relays.check_keepalived
    - context:
        own: {{ voip.self | tojson }}
        relays: {{ relays | tojson }}
        peers: {{ salt['rtpengine_relays.peers']() | tojson }}
        advert_s: {{ timing.advert_ms / 1000 }}
    - require:
      - voip_package: Install RTPEngine
      - file: Make the place of relays that an operator keeps away

# It takes a changed file while it runs; a restart would give the relays away.
Run keepalived:
  voip_service.running:
    - name: keepalived.service
    - paths:
      - /usr/sbin/keepalived
    - reload_paths:
      - /etc/keepalived
    - watch:
      - voip_config: Configure keepalived
    - require:
      - voip_service: Run the watch over relays
      - sls: rtpengine.running
{%- endif %}
