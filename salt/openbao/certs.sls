include:
  - openbao.running
  - vault

Give OpenBao its certificate:
  voip_certificate.managed:
    - name: openbao
    - require:
      - voip_vault: Enrol this machine

# Compared with what the listener shows: an interrupted run leaves nothing unloaded. The watch is for
# test=True, where there is nothing to compare yet.
Load the certificate of OpenBao:
  openbao.certified:
    - name: openbao
    - watch:
      - voip_certificate: Give OpenBao its certificate
