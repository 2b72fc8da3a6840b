include:
  - rtpengine.configured

Run RTPEngine:
  service.running:
    - name: rtpengine-daemon
    - enable: True
    - watch:
      - voip_config: Configure RTPEngine
      - voip_config: Confine the RTPEngine service

RTPEngine answers its control protocol:
  voip_health.answers:
    - name: rtpengine.ping
    - require:
      - service: Run RTPEngine
