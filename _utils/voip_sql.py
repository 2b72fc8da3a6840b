"""How PostgreSQL is reached from a host of the platform: verified TLS, a pair of the Vault's."""


def server(voip, local, ca_file):
    """Return psycopg.connect's arguments for the server.

    voip: pillar['voip']. local: overrides of the minion's configuration (host, port, sslmode).
    """
    return {
        "host": local.get("host") or voip["endpoints"]["postgresql"],
        "port": local.get("port") or voip["ports"]["postgresql"]["sql"],
        "sslmode": local.get("sslmode", "verify-full"),
        "sslrootcert": ca_file,
    }


def login(pair):
    """Return psycopg.connect's arguments for a pair, {"username", "password"}."""
    return {"user": pair["username"], "password": pair["password"]}
