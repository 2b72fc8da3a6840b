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
