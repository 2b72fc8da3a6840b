include:
  - rtpengine.running
  - rtpengine.failover

RTPEngine answers its control protocol:
  voip_health.answers:
    - name: rtpengine.ping
    - arguments: [{{ pillar['voip'].self.name }}]
    - require:
      - sls: rtpengine.running
      - sls: rtpengine.failover
