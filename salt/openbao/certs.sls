include:
  - openbao.running
  - vault

Give OpenBao its certificate:
  voip_certificate.managed:
    - name: openbao
    - require:
      - voip_vault: Enrol this machine

# Compared with what the listener shows, not watched: an interrupted run leaves nothing unloaded.
Load the certificate of OpenBao:
  openbao.certified:
    - name: openbao
    - require:
      - voip_certificate: Give OpenBao its certificate
