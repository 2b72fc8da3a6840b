include:
  - openbao.running
  - vault

Give OpenBao its certificate:
  voip_certificate.managed:
    - name: openbao
    - require:
      - voip_vault: Enrol this machine
