include:
  - openbao.installed

Make the OpenBao storage directory:
  file.directory:
    - name: /var/lib/openbao
    - user: openbao
    - group: openbao
    - mode: "0700"
    - require:
      - user: Make the OpenBao user

Make the OpenBao configuration directory:
  file.directory:
    - name: /etc/openbao
    - mode: "0755"

Configure OpenBao:
  file.managed:
    - name: /etc/openbao/openbao.hcl
    - source: salt://openbao/files/openbao.hcl.j2
    - template: jinja
    - mode: "0644"
    - require:
      - file: Make the OpenBao configuration directory

Install the unsealing program:
  file.managed:
    - name: /usr/local/lib/voip-stack/openbao-unseal
    - source: salt://openbao/files/openbao-unseal
    - makedirs: true
    - mode: "0755"

Install the OpenBao unit:
  file.managed:
    - name: /etc/systemd/system/openbao.service
    - source: salt://openbao/files/openbao.service
    - mode: "0644"

Rotate the audit log of OpenBao:
  file.managed:
    - name: /etc/logrotate.d/openbao
    - source: salt://openbao/files/openbao.logrotate
    - mode: "0644"

Give the OpenBao listener a first certificate:
  openbao.listening:
    - name: openbao
    - require:
      - user: Make the OpenBao user
