{%- set voip = pillar['voip'] %}
include:
  - pgbouncer.installed

Configure the pooler:
  voip_config.managed:
    - name: /etc/pgbouncer
    - source: salt://pgbouncer/files
    - files: [pgbouncer.ini, databases.ini]
    - secrets:
        postgresql: hosts/{{ voip['self']['name'] }}/postgresql
    - group: postgres
    - mode: "0640"
    - require:
      - voip_package: Install the pooler

# The package's empty list of users: auth_type `any` has no use for one.
Remove the pooler's list of users:
  file.absent:
    - name: /etc/pgbouncer/userlist.txt
    - require:
      - voip_config: Configure the pooler

Confine the pooler's service:
  file.managed:
    - name: /etc/systemd/system/pgbouncer.service.d/voip.conf
    - source: salt://pgbouncer/files/voip.conf.j2
    - template: jinja
    - makedirs: true
    - mode: "0644"
