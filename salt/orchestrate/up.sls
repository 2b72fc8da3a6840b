# Converge the platform, hosts in order: what serves secrets, certificates and data comes first,
# the others follow side by side. Run by `./voip up`; by hand: salt-run state.orchestrate orchestrate.up
{%- set plan = salt['saltutil.runner']('voip_deploy.plan') %}

Sync the extensions to every minion:
  salt.runner:
    - name: voip_deploy.sync

Converge the hosts that serve secrets and data:
  salt.state:
    - tgt: {{ plan['first'] | tojson }}
    - tgt_type: list
    - highstate: true
    - queue: true
    - require:
      - salt: Sync the extensions to every minion

Adopt the root CA:
  salt.runner:
    - name: voip_deploy.adopt_ca
    - require:
      - salt: Converge the hosts that serve secrets and data

Hand every minion the root CA in its pillar:
  salt.function:
    - name: saltutil.refresh_pillar
    - tgt: {{ plan['all'] | tojson }}
    - tgt_type: list
    - kwarg: {wait: true}
    - require:
      - salt: Adopt the root CA

Give every host its Vault identity:
  salt.runner:
    - name: voip_vault.enrol
    - require:
      - salt: Hand every minion the root CA in its pillar

Converge the other hosts:
  salt.state:
    - tgt: {{ plan['then'] | tojson }}
    - tgt_type: list
    - highstate: true
    - queue: true
    - require:
      - salt: Give every host its Vault identity
{%- if plan['proxies'] %}

# A proxy that started before the relay would answer the first call with 503.
Wait until the proxies reach PBX and media relay:
  salt.state:
    - tgt: {{ plan['proxies'] | tojson }}
    - tgt_type: list
    - sls:
      {%- for daemon in plan['daemons'] %}
      - {{ daemon }}.joined
      {%- endfor %}
    - queue: true
    - require:
      - salt: Converge the other hosts
{%- endif %}
{%- if plan['relays'] %}

# A relay is at home where its host was up first, or again: without a call it goes there unnoticed.
Send idle media relays home:
  salt.function:
    - name: rtpengine_relays.send_idle_home
    - tgt: {{ plan['relays'] | tojson }}
    - tgt_type: list
    - require:
      - salt: Converge the other hosts
{%- endif %}
