include:
  - redis.installed

Configure Redis:
  file.managed:
    - name: /etc/redis/redis.conf
    - source: salt://redis/files/redis.conf.j2
    - template: jinja
    - group: redis
    - mode: "0640"
    - require:
      - voip_package: Install Redis

Set the users of Redis:
  voip_redis.users:
    - name: /etc/redis/users.acl
    - users: {{ salt['voip_redis.users']() | json }}
    - require:
      - voip_package: Install Redis

Have systemd bring Redis back:
  file.managed:
    - name: /etc/systemd/system/redis-server.service.d/voip.conf
    - source: salt://redis/files/voip-unit.conf
    - makedirs: true
    - mode: "0644"
    - require:
      - voip_package: Install Redis
