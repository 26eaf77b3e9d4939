"""Keystone for gunicorn.

It reads sys.argv while it is imported, which must not be gunicorn's. And its SQLite transactions
begin as writing ones: a transaction that reads first and writes later fails at once, whatever the
time-out, when another has committed in between. Clouds have a database server and never see that.
"""
import sys

import sqlalchemy
from sqlalchemy import event

sys.argv = ['keystone']


@event.listens_for(sqlalchemy.engine.Engine, 'begin')
def begin_immediately(connection):
    # oslo.db looks at the same mark, and then does not begin once more.
    if connection.dialect.name == 'sqlite' and 'in_transaction' not in connection.info:
        connection.info['in_transaction'] = True
        connection.exec_driver_sql('BEGIN IMMEDIATE')


from keystone.wsgi.api import application  # noqa: E402,F401
