include:
  - callstore.installed

Configure the Redis of live calls:
  file.managed:
    - name: /etc/redis/redis-calls.conf
    - source: salt://callstore/files/redis-calls.conf.j2
    - template: jinja
    - group: redis
    - mode: "0640"
    - require:
      - voip_package: Install the Redis of live calls

Set the users of the Redis of live calls:
  voip_redis.users:
    - name: /etc/redis/users-calls.acl
    - component: callstore
    - users: {{ salt['voip_redis.users']('callstore') | json }}
    - require:
      - voip_package: Install the Redis of live calls

Have systemd bring the Redis of live calls back:
  file.managed:
    - name: /etc/systemd/system/redis-server@calls.service.d/voip.conf
    - source: salt://callstore/files/voip-unit.conf
    - makedirs: true
    - mode: "0644"
    - require:
      - voip_package: Install the Redis of live calls
