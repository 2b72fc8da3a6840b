Install Redis:
  voip_package.installed:
    - name: redis
