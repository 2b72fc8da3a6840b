{%- set voip = pillar['voip'] %}
include:
  - rtpengine.installed
  - rtpengine.spool

Configure RTPEngine:
  voip_config.managed:
    - name: /etc/rtpengine
    - source: salt://rtpengine/files
    - files: [rtpengine.conf]
    - check: rtpengine.check_config
    - group: rtpengine
    - context:
        addresses: {{ voip.self.addresses | tojson }}
        ports: {{ voip.ports.rtpengine | tojson }}
        settings: {{ voip.rtpengine | tojson }}
        forwarding: {{ salt['rtpengine_module.wanted']() | tojson }}
        spool: /run/voip-recording
    - require:
      - voip_package: Install RTPEngine
      - file: Make the place of clear recordings

Confine the RTPEngine service:
  voip_config.managed:
    - name: /etc/systemd/system/rtpengine-daemon.service.d
    - source: salt://rtpengine/files
    - files: [voip.conf]
    - mode: "0644"
    - context:
        spool: /run/voip-recording
        forwarding: {{ salt['rtpengine_module.wanted']() | tojson }}
    - require:
      - voip_package: Install RTPEngine
