include:
  - pgbouncer.configured

# A reload: connections in use end their transaction by the old settings, no query fails.
Run the pooler:
  voip_service.running:
    - name: pgbouncer.service
    - paths:
      - /usr/sbin/pgbouncer
      - /etc/systemd/system/pgbouncer.service.d
    - reload_paths:
      - /etc/pgbouncer
      - /etc/voip-stack/tls/ca.crt
    - require:
      - group: Make the group of the pooler's socket
    - watch:
      - voip_package: Install the pooler
      - file: Confine the pooler's service
      - voip_config: Configure the pooler
