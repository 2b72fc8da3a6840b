Set the users of the existing Redis:
  voip_redis.remote_users:
    - name: redis
    - users: {{ salt['voip_redis.users']() | json }}
