include:
  - pki
  - kamailio.installed

Certify Kamailio:
  voip_certificate.managed:
    - name: kamailio
    - require:
      - voip_package: Install Kamailio
