Install the pooler:
  voip_package.installed:
    - name: pgbouncer

Make the group of the pooler's socket:
  group.present:
    - name: {{ pillar['voip']['pgbouncer']['group'] }}
    - system: true
