include:
  - postgresql.configured
  - postgresql.certs

Run PostgreSQL:
  service.running:
    - name: postgresql@{{ pillar['voip']['postgresql']['version'] }}-main
    - enable: true
    - require:
      - voip_certificate: Give PostgreSQL its certificate
    - watch:
      - voip_package: Install PostgreSQL
      - file: Configure PostgreSQL

# Who may come in, and the certificate: read again without ending a session.
Reload PostgreSQL:
  service.running:
    - name: postgresql@{{ pillar['voip']['postgresql']['version'] }}-main
    - reload: true
    - require:
      - service: Run PostgreSQL
    - watch:
      - file: Write pg_hba.conf
      - file: Write pg_ident.conf
      - voip_certificate: Give PostgreSQL its certificate

PostgreSQL answers:
  voip_health.answers:
    - name: voip_postgresql.ping
    - require:
      - service: Reload PostgreSQL
