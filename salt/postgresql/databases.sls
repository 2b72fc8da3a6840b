{%- set voip = pillar['voip'] %}
include:
  - postgresql.running

Make the databases and their logins:
  voip_database.present:
    - name: postgresql
    - databases: {{ salt['voip_postgresql.logins']() | json }}
    - require:
      - voip_health: PostgreSQL answers

{%- for name, database in voip['postgresql']['databases'] | dictsort if database['schema_files'] %}

Apply the schema of {{ name }}:
  voip_database.schema:
    - name: {{ name }}
    - source: {{ database['schema_files'] }}
    - require:
      - voip_database: Make the databases and their logins
{%- endfor %}
