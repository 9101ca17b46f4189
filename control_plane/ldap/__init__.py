"""People whose passwords an LDAP server keeps, Active Directory among them: who they are, and what
their groups are. All but `model` is loaded only where such a server is configured."""
