Install the Redis of live calls:
  voip_package.installed:
    - name: callstore
