include:
  - rtpengine.configured

Run RTPEngine:
  voip_service.running:
    - name: rtpengine-daemon.service
    - paths:
      - /usr/bin/rtpengine
      - /etc/rtpengine
      - /etc/systemd/system/rtpengine-daemon.service.d
    - watch:
      - voip_package: Install RTPEngine
      - voip_config: Configure RTPEngine
      - voip_config: Confine the RTPEngine service

RTPEngine answers its control protocol:
  voip_health.answers:
    - name: rtpengine.ping
    - require:
      - voip_service: Run RTPEngine
