include:
  - callstore.configured
  - callstore.certs

Run the Redis of live calls:
  voip_service.running:
    - name: redis-server@calls.service
    - paths:
      - /usr/bin/redis-server
      - /etc/redis/redis-calls.conf
      - /etc/systemd/system/redis-server@calls.service.d
    - require:
      - voip_redis: Set the users of the Redis of live calls
      - voip_certificate: Give the Redis of live calls its certificate
    - watch:
      - voip_package: Install the Redis of live calls
      - file: Configure the Redis of live calls
      - file: Have systemd bring the Redis of live calls back

The Redis of live calls answers:
  voip_health.answers:
    - name: voip_redis.ping_callstore
    - require:
      - voip_service: Run the Redis of live calls
