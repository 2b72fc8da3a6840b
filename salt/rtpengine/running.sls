include:
  - rtpengine.configured
{%- for relay in salt['rtpengine_relays.instances']() %}

# A restart goes on with the calls, see rtpengine.conf. Where the addresses are elsewhere, it is not started.
Run RTPEngine for {{ relay.name }}:
  voip_service.running:
    - name: {{ relay.unit }}
    - paths:
      - /usr/bin/rtpengine
      - {{ relay.directory }}
      - /etc/systemd/system/{{ relay.unit }}.d
      {%- if not relay.is_home %}
      - /etc/systemd/system/rtpengine-standby@.service
      {%- endif %}
    - watch:
      - voip_package: Install RTPEngine
      - voip_config: Configure RTPEngine for {{ relay.name }}
      - voip_config: Confine the RTPEngine service for {{ relay.name }}
      - voip_config: Describe RTPEngine of a relay that was taken over
{%- endfor %}
