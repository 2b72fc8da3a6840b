# Rotate database and API credentials that are due, and finish rotations that a crash interrupted.
# By hand: salt-run state.orchestrate orch.rotate
#          pillar='{"rotate": {"hosts": ["sip-1"], "secrets": ["postgresql"], "force": true}}'
{%- set wanted = pillar.get('rotate', {}) %}
Rotate the credentials:
  salt.runner:
    - name: voip_rotation.rotate
    - hosts: {{ wanted.get('hosts') | tojson }}
    - secrets: {{ wanted.get('secrets') | tojson }}
    - force: {{ wanted.get('force', false) | tojson }}
