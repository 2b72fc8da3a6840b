{%- set voip = pillar['voip'] %}
{%- set directory = '/etc/postgresql/' ~ voip['postgresql']['version'] ~ '/main' %}
include:
  - postgresql.installed

Configure PostgreSQL:
  file.managed:
    - name: {{ directory }}/conf.d/voip.conf
    - source: salt://postgresql/files/voip.conf.j2
    - template: jinja
    - mode: "0644"
    - require:
      - voip_package: Install PostgreSQL

Confine the PostgreSQL service:
  file.managed:
    - name: /etc/systemd/system/postgresql@.service.d/voip.conf
    - source: salt://postgresql/files/voip-unit.conf.j2
    - template: jinja
    - context:
        version: {{ voip['postgresql']['version'] }}
    - makedirs: true
    - mode: "0644"

{%- for file in ('pg_hba.conf', 'pg_ident.conf') %}

Write {{ file }}:
  file.managed:
    - name: {{ directory }}/{{ file }}
    - source: salt://postgresql/files/{{ file }}.j2
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: "0640"
    - require:
      - voip_package: Install PostgreSQL
{%- endfor %}
