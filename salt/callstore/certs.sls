include:
  - callstore.installed

Give the Redis of live calls its certificate:
  voip_certificate.managed:
    - name: callstore
    - require:
      - voip_package: Install the Redis of live calls
