# What the platform keeps in the Vault, wherever that runs: engines, CAs, identities, secrets.
# Needs /etc/voip-stack/vault/provision.json on the host that applies this; salt/openbao makes it,
# for an existing Vault its administrator does (docs/installation.md).
{%- set voip = pillar['voip'] %}

Enable the secret engines:
  voip_vault.engines:
    - name: {{ voip['vault']['kv_mount'] }}

Write policies and AppRoles and PKI roles:
  voip_vault.identities:
    - name: hosts
    - require:
      - voip_vault: Enable the secret engines

Revoke the identities of hosts that are gone:
  voip_vault.retired:
    - name: hosts
    - require:
      - voip_vault: Write policies and AppRoles and PKI roles

Make the certificate authorities:
  voip_vault.authorities:
    - name: {{ voip['vault']['pki_mount'] }}
    - root_name: {{ voip['site']['domain'] }} root CA
    - intermediate_name: {{ voip['site']['domain'] }} intermediate CA
    - require:
      - voip_vault: Write policies and AppRoles and PKI roles

Generate the secrets of the hosts:
  voip_vault.generated:
    - name: hosts
    - require:
      - voip_vault: Enable the secret engines

Enrol this machine:
  voip_vault.enrolled:
    - name: {{ voip['self']['name'] }}
    - require:
      - voip_vault: Make the certificate authorities
