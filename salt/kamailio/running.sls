include:
  - kamailio.configured

Run Kamailio:
  service.running:
    - name: kamailio
    - enable: True
    - watch:
      - voip_package: Install Kamailio
      - kamailio: Configure Kamailio's routing
      - file: Confine the Kamailio service
    - require:
      - kamailio: Configure Kamailio's tables

Kamailio answers its control socket:
  voip_health.answers:
    - name: kamailio.ping
    - require:
      - service: Run Kamailio
