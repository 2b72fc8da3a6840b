# Rotate the intermediate CA, or go on with a rotation that a crash interrupted.
# By hand: salt-run state.orchestrate orch.rotate_ca
#          pillar='{"rotate_ca": {"revoke_old": true}}'
# The steps are in voip_stack/certificates/authority.py: one lock holds from the first to the last.
{%- set wanted = pillar.get('rotate_ca', {}) %}
Rotate the intermediate CA:
  salt.runner:
    - name: voip_authority.rotate
    - revoke_old: {{ wanted.get('revoke_old', false) | tojson }}
