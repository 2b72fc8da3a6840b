include:
  - pki
  - opensips.installed

Certify OpenSIPS:
  voip_certificate.managed:
    - name: opensips
    - require:
      - voip_package: Install OpenSIPS

# Before the tables, which tell the proxy to check by them. Required by nothing: without lists it serves.
Keep the revocation lists by which OpenSIPS checks:
  voip_certificate.revocations:
    - name: opensips
    - require:
      - voip_certificate: Certify OpenSIPS
