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
    - reload_paths:
      - /etc/voip-stack/tls/redis.crt
    - reload_function: voip_redis.load_certificate
    - require:
      - voip_redis: Set the users of Redis
    - watch:
      - voip_package: Install Redis
      - file: Configure Redis
      - file: Have systemd bring Redis back
      - voip_certificate: Give Redis its certificate

Redis answers:
  voip_health.answers:
    - name: voip_redis.ping
    - require:
      - voip_service: Run Redis
