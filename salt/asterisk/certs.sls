include:
  - pki
  - asterisk.installed

Certify Asterisk:
  voip_certificate.managed:
    - name: asterisk
    - require:
      - voip_package: Install Asterisk
