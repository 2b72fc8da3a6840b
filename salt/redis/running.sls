include:
  - redis.configured
  - redis.certs

Run Redis:
  voip_service.running:
    - name: redis-server.service
    - paths:
      - /usr/bin/redis-server
      - /etc/redis/redis.conf
      - /etc/systemd/system/redis-server.service.d
    - require:
      - voip_redis: Set the users of Redis
      - voip_certificate: Give Redis its certificate
    - watch:
      - voip_package: Install Redis
      - file: Configure Redis
      - file: Have systemd bring Redis back

Redis answers:
  voip_health.answers:
    - name: voip_redis.ping
    - require:
      - voip_service: Run Redis
