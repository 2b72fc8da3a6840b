# The root CA that everything on this host verifies its peers by. Components include this.
# Before the PKI exists pillar has none: devstack stores it itself when it has made the PKI (salt/vault).
{%- set ca_pem = pillar['voip']['pki'].get('ca_pem') %}
{%- if ca_pem %}

Trust the platform's root CA:
  voip_certificate.authority:
    - name: ca.crt
    - pem: {{ ca_pem | json }}
{%- endif %}
