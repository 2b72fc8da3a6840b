# Move registrations and new calls to the primary proxy of the pillar (routing.primary_proxy). By ./voip switch-proxy, which writes
# that; by hand: salt-run state.orchestrate orch.switch_proxy pillar='{"switch": {"wait_s": 900}}'
{%- set order = pillar.get('switch', {}) %}
{%- set hosts = salt['saltutil.runner']('voip_deploy.plan')['entrances'] %}

Tell the hosts which proxy is the primary:
  salt.function:
    - name: saltutil.refresh_pillar
    - tgt: {{ hosts | tojson }}
    - tgt_type: list
    - kwarg: {wait: true}

# Refused where the new one cannot take over: then nothing has changed.
Send new connections to the primary proxy:
  salt.state:
    - tgt: {{ hosts | tojson }}
    - tgt_type: list
    - sls: [shared]
    - queue: true
    - require:
      - salt: Tell the hosts which proxy is the primary

Move who is registered elsewhere:
  salt.runner:
    - name: voip_switch.move
    - hosts: {{ hosts | tojson }}
    - wait_s: {{ order.get('wait_s', 900) | tojson }}
    - require:
      - salt: Send new connections to the primary proxy
