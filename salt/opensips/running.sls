{%- set has_shared = pillar['voip'].shared is defined %}
include:
  - opensips.configured
{%- if has_shared %}
  - shared.address
{%- endif %}

# What is read at the start only; the tables are read again by the state that writes them.
Run OpenSIPS:
  voip_service.running:
    - name: opensips.service
    - paths:
      - /usr/sbin/opensips
      - /etc/systemd/system/opensips.service.d
      - /etc/opensips/voip/opensips.cfg
      - /etc/opensips/voip/sockets.cfg
      - /etc/opensips/voip/modules.cfg
      - /etc/opensips/voip/routes
    - watch:
      - voip_package: Install OpenSIPS
      - voip_proxy: Configure OpenSIPS' routing
      - file: Confine the OpenSIPS service
    - require:
{%- if has_shared %}
      - voip_service: Have the shared address
{%- endif %}
      - voip_proxy: Configure OpenSIPS' tables

OpenSIPS answers its control socket:
  voip_health.answers:
    - name: opensips.ping
    - require:
      - voip_service: Run OpenSIPS
