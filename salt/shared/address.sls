# The address that devices come to: the proxies listen at it.
Describe the shared address:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://shared/files
    - files: [voip-shared-address.service]
    - mode: "0644"
    - context:
        entrance: {{ pillar['voip']['shared'] | tojson }}

Have the shared address:
  voip_service.running:
    - name: voip-shared-address.service
    - paths:
      - /etc/systemd/system/voip-shared-address.service
    - watch:
      - voip_config: Describe the shared address
