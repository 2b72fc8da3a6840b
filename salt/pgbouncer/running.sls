include:
  - pgbouncer.configured

Run the pooler:
  service.running:
    - name: pgbouncer
    - enable: true
    - require:
      - group: Make the group of the pooler's socket
    - watch:
      - voip_package: Install the pooler
      - file: Confine the pooler's service

# A reload: connections in use end their transaction by the old settings, no query fails.
Reload the pooler:
  service.running:
    - name: pgbouncer
    - reload: true
    - require:
      - service: Run the pooler
    - watch:
      - voip_config: Configure the pooler
