include:
  - openbao.configured

Run OpenBao:
  voip_service.running:
    - name: openbao.service
    - paths:
      - /usr/local/bin/bao
      - /etc/openbao/openbao.hcl
      - /etc/systemd/system/openbao.service
      - /usr/local/lib/voip-stack/openbao-unseal
    - require:
      - openbao: Give the OpenBao listener a first certificate
      - file: Make the OpenBao storage directory
    - watch:
      - openbao: Install the OpenBao server
      - file: Configure OpenBao
      - file: Install the unsealing program
      - file: Install the OpenBao unit

Initialise OpenBao:
  openbao.initialized:
    - name: openbao
    - require:
      - voip_service: Run OpenBao

Unseal OpenBao:
  openbao.unsealed:
    - name: openbao
    - require:
      - openbao: Initialise OpenBao

Let this machine provision the Vault:
  openbao.provisionable:
    - name: provision
    - require:
      - openbao: Unseal OpenBao
    - require_in:
      - voip_vault: Enable the secret engines
