Install Asterisk:
  voip_package.installed:
    - name: asterisk

Declare the Asterisk service:
  file.managed:
    - name: /etc/systemd/system/asterisk.service
    - source: salt://asterisk/files/asterisk.service
    - mode: "0644"
