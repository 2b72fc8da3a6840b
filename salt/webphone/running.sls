include:
  - webphone.configured

Run the web phone:
  voip_service.running:
    - name: voip-webphone.service
    - paths:
      - /usr/sbin/nginx
      - /etc/systemd/system/voip-webphone.service
    - reload_paths:
      - /etc/voip-webphone
    - watch:
      - voip_package: Install the web phone's server
      - voip_config: Configure the web phone's server
      - voip_config: Describe the web phone's service

The web phone answers:
  voip_health.answers:
    - name: webphone.ping
    - require:
      - voip_service: Run the web phone
