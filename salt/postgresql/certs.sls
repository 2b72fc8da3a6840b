include:
  - postgresql.installed

Give PostgreSQL its certificate:
  voip_certificate.managed:
    - name: postgresql
    - require:
      - voip_package: Install PostgreSQL
