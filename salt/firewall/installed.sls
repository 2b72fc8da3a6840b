Install nftables:
  pkg.installed:
    - name: nftables
