include:
  - asterisk.configured

Run Asterisk:
  voip_service.running:
    - name: asterisk.service
    - paths:
      - /usr/sbin/asterisk
      - /etc/systemd/system/asterisk.service
      {%- for name in ('asterisk', 'modules', 'logger', 'rtp', 'http', 'pjsip') %}
      - /etc/asterisk/voip/{{ name }}.conf
      {%- endfor %}
    - reload_paths:
      - /etc/asterisk/voip/pjsip_trunks.conf
      - /etc/asterisk/voip/extensions.conf
      - /etc/asterisk/voip/voicemail.conf
      - /etc/asterisk/voip/ari.conf
      - /etc/asterisk/voip/manager.conf
    - reload_function: asterisk.reload
    - watch:
      - voip_package: Install Asterisk
      - file: Declare the Asterisk service
      - voip_config: Configure Asterisk
      - voip_config: Configure Asterisk's trunks and dialplan

Asterisk answers its manager interface:
  voip_health.answers:
    - name: asterisk.ping
    - require:
      - voip_service: Run Asterisk
