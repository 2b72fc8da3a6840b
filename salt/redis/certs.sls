include:
  - redis.installed

Give Redis its certificate:
  voip_certificate.managed:
    - name: redis
    - require:
      - voip_package: Install Redis
