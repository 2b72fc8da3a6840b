Install PostgreSQL:
  voip_package.installed:
    - name: postgresql
