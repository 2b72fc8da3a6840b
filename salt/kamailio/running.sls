{%- set has_shared = pillar['voip'].shared is defined %}
include:
  - kamailio.configured
{%- if has_shared %}
  - shared.address
{%- endif %}

# What is read at the start only; the tables are read again by the state that writes them.
Run Kamailio:
  voip_service.running:
    - name: kamailio.service
    - paths:
      - /usr/sbin/kamailio
      - /etc/systemd/system/kamailio.service.d
      - /etc/kamailio/voip/kamailio.cfg
      - /etc/kamailio/voip/defines.cfg
      - /etc/kamailio/voip/shared.cfg
      - /etc/kamailio/voip/modules.cfg
      - /etc/kamailio/voip/routes
    - watch:
      - voip_package: Install Kamailio
      - voip_proxy: Configure Kamailio's routing
      - file: Confine the Kamailio service
    - require:
{%- if has_shared %}
      - voip_service: Have the shared address
{%- endif %}
      - voip_proxy: Configure Kamailio's tables

Kamailio answers its control socket:
  voip_health.answers:
    - name: kamailio.ping
    - require:
      - voip_service: Run Kamailio
