{%- set version = pillar['voip']['postgresql']['version'] %}
{%- set directory = '/etc/postgresql/' ~ version ~ '/main' %}
include:
  - postgresql.configured
  - postgresql.certs

# Who may come in is read again without ending a session.
Run PostgreSQL:
  voip_service.running:
    - name: postgresql@{{ version }}-main.service
    - paths:
      - /usr/lib/postgresql/{{ version }}/bin/postgres
      - {{ directory }}/conf.d/voip.conf
      - /etc/systemd/system/postgresql@.service.d
    - reload_paths:
      - {{ directory }}/pg_hba.conf
      - {{ directory }}/pg_ident.conf
    - watch:
      - voip_package: Install PostgreSQL
      - file: Configure PostgreSQL
      - file: Confine the PostgreSQL service
      - file: Write pg_hba.conf
      - file: Write pg_ident.conf
    - require:
      - voip_certificate: Give PostgreSQL its certificate

PostgreSQL answers:
  voip_health.answers:
    - name: voip_postgresql.ping
    - require:
      - voip_service: Run PostgreSQL
