Make the subscribers those of the pillar:
  subscribers.managed:
    - name: {{ pillar['voip'].site.domain }}
    - owns: {{ pillar['voip'].kamailio.owns_subscribers }}
