# The web phone: a page to call from a browser, and nothing but static files. Who signs in there is the proxy's
# business.
include:
  - webphone.installed
  - webphone.certs
  - webphone.configured
  - webphone.running
