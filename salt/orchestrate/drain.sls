# Take a media host out of service, or bring it back. Run by `./voip drain`, which has recorded it before: the
# pillar says who is drained.
{%- set order = pillar['drain'] %}
{%- set plan = salt['saltutil.runner']('voip_deploy.plan') %}
{%- set host = order['host'] %}
{%- if order['what'] == 'undo' %}

Have {{ host }} take part again:
  salt.function:
    - name: rtpengine_relays.take_part
    - tgt: {{ host }}

# Nobody places calls with it yet: it goes home without one.
Send the relay of {{ host }} home:
  salt.function:
    - name: rtpengine_relays.send_idle_home
    - tgt: {{ plan['relays'] | reject('equalto', host) | list | tojson }}
    - tgt_type: list
    - require:
      - salt: Have {{ host }} take part again
{%- endif %}

Tell the proxies which relays are drained:
  salt.function:
    - name: saltutil.refresh_pillar
    - tgt: {{ plan['proxies'] | tojson }}
    - tgt_type: list
    - kwarg: {wait: true}
    {%- if order['what'] == 'undo' %}
    - require:
      - salt: Send the relay of {{ host }} home
    {%- endif %}

Have the proxies read it:
  salt.state:
    - tgt: {{ plan['proxies'] | tojson }}
    - tgt_type: list
    - sls:
      {%- for daemon in plan['daemons'] %}
      - {{ daemon }}.configured
      {%- endfor %}
    - queue: true
    - require:
      - salt: Tell the proxies which relays are drained
{%- if order['what'] == 'begin' %}

Have {{ host }} take over nothing:
  salt.function:
    - name: rtpengine_relays.hold_off
    - tgt: {{ host }}
    - require:
      - salt: Have the proxies read it
{%- endif %}
