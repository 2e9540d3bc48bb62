"""The PostgreSQL that comes with us: a private cluster in one directory, while a context lasts.

Inside ``directory`` live::

    lock              held (flock) by the one process that owns the cluster; says its pid
    cluster/          PostgreSQL's data directory, mode 0700
    cluster.new-*     a cluster in the making; renamed to ``cluster`` when it is whole
    socket            the directory of the Unix socket, or a symbolic link to a short one
    postgres.log      what PostgreSQL says; ``postgres.log.1`` is the one before

There is no TCP port and no password: who may enter the socket's directory may connect.
"""

from eventmanager.core.embedded.cluster import DATABASE
from eventmanager.core.embedded.postgres import embedded_postgres, running_postgres
from eventmanager.core.embedded.programs import MAJOR_VERSION, EmbeddedUnavailable, binaries

__all__ = [
    "DATABASE",
    "MAJOR_VERSION",
    "EmbeddedUnavailable",
    "binaries",
    "embedded_postgres",
    "running_postgres",
]
