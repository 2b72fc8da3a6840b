{%- set voip = pillar['voip'] %}
{%- if not voip['postgresql']['external'] %}
include:
  - postgresql.running
{%- endif %}

Make the databases and their logins:
  voip_database.present:
    - name: postgresql
    - databases: {{ salt['voip_postgresql.logins']() | json }}
{%- if not voip['postgresql']['external'] %}
    - require:
      - voip_health: PostgreSQL answers
{%- endif %}

{%- for name, database in voip['postgresql']['databases'] | dictsort if database['schema_files'] %}

Apply the schema of {{ name }}:
  voip_database.schema:
    - name: {{ name }}
    - source: {{ database['schema_files'] }}
    - require:
      - voip_database: Make the databases and their logins
{%- endfor %}
