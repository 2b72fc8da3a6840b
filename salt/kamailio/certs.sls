include:
  - pki
  - kamailio.installed

Certify Kamailio:
  voip_certificate.managed:
    - name: kamailio
    - require:
      - voip_package: Install Kamailio

# Before the tables, which tell the proxy to check by them. Required by nothing: without lists it serves.
Keep the revocation lists by which Kamailio checks:
  voip_certificate.revocations:
    - name: kamailio
    - require:
      - voip_certificate: Certify Kamailio
