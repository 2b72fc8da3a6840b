Make the configuration directory:
  file.directory:
    - name: /etc/voip-stack
    - mode: "0755"

Make the directory of certificates:
  file.directory:
    - name: /etc/voip-stack/tls
    - mode: "0755"

Make the directory of the Vault identity:
  file.directory:
    - name: /etc/voip-stack/vault
    - mode: "0700"

Make the state directory:
  file.directory:
    - name: /var/lib/voip-stack
    - mode: "0755"
