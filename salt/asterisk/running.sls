include:
  - asterisk.configured

Run Asterisk:
  service.running:
    - name: asterisk
    - enable: True
    - watch:
      - file: Declare the Asterisk service
      - voip_config: Configure Asterisk
      - voip_certificate: Certify Asterisk
    - require:
      - voip_config: Configure Asterisk's trunks and dialplan

Reload Asterisk's trunks and dialplan:
  module.run:
    - asterisk.reload: []
    - onchanges:
      - voip_config: Configure Asterisk's trunks and dialplan
    - require:
      - voip_health: Asterisk answers its manager interface

Asterisk answers its manager interface:
  voip_health.answers:
    - name: asterisk.ping
    - require:
      - service: Run Asterisk
