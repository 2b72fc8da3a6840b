# Renew one certificate of one host. Run by voip_stack/certificates/renew.py, which keeps others away meanwhile.
# forced: one that is good for a while as well.
{%- set order = pillar['renewal'] %}

Renew the certificate of {{ order['name'] }} on {{ order['host'] }}:
  salt.function:
    - name: voip_renewal.renew
    - tgt: {{ [order['host']] | tojson }}
    - tgt_type: list
    - arg: {{ [order['name']] | tojson }}
    - kwarg: {{ {'forced': order['forced']} | tojson }}
