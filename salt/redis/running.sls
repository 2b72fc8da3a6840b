include:
  - redis.configured
  - redis.certs

Run Redis:
  service.running:
    - name: redis-server
    - enable: true
    - require:
      - voip_certificate: Give Redis its certificate
      - voip_redis: Set the users of Redis
    - watch:
      - voip_package: Install Redis
      - file: Configure Redis

Load the certificate of Redis:
  module.run:
    - voip_redis.load_certificate: []
    - onchanges:
      - voip_certificate: Give Redis its certificate
    - require:
      - service: Run Redis

Redis answers:
  voip_health.answers:
    - name: voip_redis.ping
    - require:
      - service: Run Redis
