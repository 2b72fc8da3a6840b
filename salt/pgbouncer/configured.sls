{%- set voip = pillar['voip'] %}
include:
  - pgbouncer.installed

Configure the pooler:
  voip_config.managed:
    - name: /etc/pgbouncer
    - source: salt://pgbouncer/files
    - files: [pgbouncer.ini, userlist.txt]
    - secrets:
        postgresql: hosts/{{ voip['self']['name'] }}/postgresql
    - group: postgres
    - mode: "0640"
    - require:
      - voip_package: Install the pooler

Confine the pooler's service:
  file.managed:
    - name: /etc/systemd/system/pgbouncer.service.d/voip.conf
    - source: salt://pgbouncer/files/voip.conf.j2
    - template: jinja
    - makedirs: true
    - mode: "0644"
