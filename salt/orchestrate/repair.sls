# Repair one service: verify that it is down, wait for what it needs, keep the evidence, restart it,
# verify that it answers. Started by the health beacon's event; by hand:
#   salt-run state.orchestrate orchestrate.repair pillar='{"repair": {"host": "sip-1", "service": "kamailio"}}'
# The steps are in voip_stack/repair/engine.py: one lock holds from the first to the last.
{%- set order = pillar['repair'] %}

Repair {{ order['service'] }} on {{ order['host'] }}:
  salt.runner:
    - name: voip_repair.run
    - host: {{ order['host'] | tojson }}
    - service: {{ order['service'] | tojson }}
    - for_s: {{ order.get('for_s', 0) | tojson }}
    - has_answered: {{ order.get('has_answered', true) | tojson }}
    - by: {{ order.get('by', 'operator') | tojson }}
    - forced: {{ order.get('forced', true) | tojson }}
