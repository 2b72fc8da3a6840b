# The Vault API's server, then what the platform keeps in it. With an existing Vault (pillar
# vault.yaml: external) nothing is installed, only provisioned.
include:
  - pki
{%- if not pillar['voip']['vault']['external'] %}
  - openbao.installed
  - openbao.configured
  - openbao.running
{%- endif %}
  - vault
{%- if not pillar['voip']['vault']['external'] %}
  - openbao.certs
{%- endif %}
