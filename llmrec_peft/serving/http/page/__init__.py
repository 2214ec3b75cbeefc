"""The server's page: what answers which tenant, how fast and from where, a list to try, and changes of versions."""
