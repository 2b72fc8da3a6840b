{%- set voip = pillar['voip'] %}
{%- set forwarding = salt['rtpengine_module.wanted']() %}
{%- set standby = {'mode': 'userspace', 'reason': 'the kernel table is the own relay\'s'} %}
include:
  - rtpengine.installed
  - rtpengine.spool

Describe RTPEngine of a relay that was taken over:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://rtpengine/files
    - files: ["rtpengine-standby@.service"]
    - mode: "0644"
{%- for relay in salt['rtpengine_relays.instances']() %}

Configure RTPEngine for {{ relay.name }}:
  voip_config.managed:
    - name: {{ relay.directory }}
    - source: salt://rtpengine/files
    - files: [rtpengine.conf]
    - check: rtpengine.check_config
    - group: rtpengine
    - context:
        addresses: {{ relay.addresses | tojson }}
        ipv6: {{ relay.ipv6 | tojson }}
        ports: {{ voip.ports.rtpengine | tojson }}
        settings: {{ voip.rtpengine | tojson }}
        cli_port: {{ relay.cli_port }}
        forwarding: {{ (forwarding if relay.is_home else standby) | tojson }}
        database: {{ (relay.database if salt['rtpengine_relays.store']() else none) | tojson }}
        spool: /run/voip-recording
    - require:
      - voip_package: Install RTPEngine
      - file: Make the place of clear recordings

Confine the RTPEngine service for {{ relay.name }}:
  voip_config.managed:
    - name: /etc/systemd/system/{{ relay.unit }}.d
    - source: salt://rtpengine/files
    - files: [voip.conf]
    - mode: "0644"
    - context:
        spool: /run/voip-recording
        forwarding: {{ (forwarding if relay.is_home else standby) | tojson }}
        floating: {{ (relay.addresses.values() | list + relay.ipv6.values() | list if relay.floats else []) | tojson }}
    - require:
      - voip_package: Install RTPEngine
{%- endfor %}
