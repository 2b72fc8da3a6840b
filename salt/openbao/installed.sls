Make the OpenBao user:
  user.present:
    - name: openbao
    - system: true
    - usergroup: true
    - home: /var/lib/openbao
    - createhome: false
    - shell: /usr/sbin/nologin

Install the OpenBao server:
  openbao.installed:
    - name: bao
