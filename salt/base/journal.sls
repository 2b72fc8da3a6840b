# A chatty daemon must not fill the disk that holds the call records.
Limit the journal:
  file.managed:
    - name: /etc/systemd/journald.conf.d/voip.conf
    - source: salt://base/files/journald.conf
    - makedirs: True

Restart the journal with its limits:
  module.run:
    - service.restart:
      - name: systemd-journald
    - onchanges:
      - file: Limit the journal
